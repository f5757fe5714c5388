"""Where a BMP ends: at the end of its pixels, or of the colour profile after them.

The length in the file header is not used, because in many files it is 0 or off by two.
"""

import struct

from shop.pixels.file_extent.extent import Extent, truncated_error

_OLD_HEADER_BYTES, _HEADER_WITH_PROFILE_BYTES = 12, 124
_START_OF_HEADER, _PROFILE_FIELDS = 14, 126
_RAW, _BITFIELDS = 0, 3


def find_extent(data: bytes) -> Extent:
    """Return how far a BMP reaches."""
    try:
        end = max(_end_of_pixels(data), _end_of_profile(data))
    except struct.error:
        raise truncated_error(len(data), "the rest of the header of a BMP") from None
    if len(data) < end:
        raise truncated_error(len(data), f"the rest of the {end} that it has by its header")
    return Extent(end)


def _end_of_pixels(data: bytes) -> int:
    file_size, _, start, header = struct.unpack_from("<IIII", data, 2)
    if header == _OLD_HEADER_BYTES:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        return int(start + _row_bytes(width, bits) * height)
    width, height, _, bits, compression, size = struct.unpack_from("<iiHHII", data, 18)
    if compression in {_RAW, _BITFIELDS}:
        return int(start + _row_bytes(width, bits) * abs(height))
    return int(start + size if size else file_size)


def _row_bytes(width: int, bits: int) -> int:
    return (width * bits + 31) // 32 * 4


def _end_of_profile(data: bytes) -> int:
    (header,) = struct.unpack_from("<I", data, _START_OF_HEADER)
    if header != _HEADER_WITH_PROFILE_BYTES:
        return 0
    offset, size = struct.unpack_from("<II", data, _PROFILE_FIELDS)
    return int(_START_OF_HEADER + offset + size if size else 0)
