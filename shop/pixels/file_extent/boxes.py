"""Where a sequence of boxes (length, type, content) ends, as in AVIF, HEIC and MP4."""

import re

from shop.pixels.file_extent.extent import Extent, truncated_error

_TYPE = re.compile(rb"[ -~]{4}")
_HEADER_BYTES, _LONG_HEADER_BYTES = 8, 16
_TO_THE_END, _LONG = 0, 1


def find_extent(data: bytes) -> Extent:
    """Return how far an AVIF or a HEIC reaches."""
    return Extent(find_end(data, 0))


def find_end(data: bytes, at: int) -> int:
    """Return where the boxes that begin at `at` end: where no further box begins."""
    while _TYPE.match(data, at + 4):
        at = _box_end(data, at)
        if at > len(data):
            raise truncated_error(len(data), f"the rest of a box that ends at {at}")
    return at


def has_box(data: bytes, name: bytes) -> bool:
    """Return whether one of the outermost boxes has this type."""
    at = 0
    while _TYPE.match(data, at + 4):
        if data.startswith(name, at + 4):
            return True
        at = _box_end(data, at)
    return False


def _box_end(data: bytes, at: int) -> int:
    """Return where the box that begins at `at` ends, which may be past the end of the file."""
    size = int.from_bytes(data[at : at + 4])
    if size == _TO_THE_END:
        return len(data)
    if size == _LONG:
        size = max(_LONG_HEADER_BYTES, int.from_bytes(data[at + 8 : at + 16]))
    return at + max(_HEADER_BYTES, size)
