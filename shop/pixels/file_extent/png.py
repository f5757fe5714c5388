"""Where a PNG ends: a signature, then chunks of length, type, data and checksum."""

from shop.pixels.file_extent.extent import Extent, truncated_error

_SIGNATURE_BYTES = 8
_AROUND_DATA_BYTES = 12


def find_extent(data: bytes) -> Extent:
    """Return how far a PNG reaches."""
    at = _SIGNATURE_BYTES
    while at + _AROUND_DATA_BYTES <= len(data):
        name = data[at + 4 : at + 8]
        at += _AROUND_DATA_BYTES + int.from_bytes(data[at : at + 4])
        if name == b"IEND":
            return Extent(at)
    raise truncated_error(len(data), "the chunk that ends a PNG (IEND)")
