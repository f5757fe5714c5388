"""Where a JPEG ends, and what may follow it."""

import re

from shop.pixels.file_extent import boxes, samsung
from shop.pixels.file_extent.extent import Extent, truncated_error

# A pattern, because `bytes.find` takes three times as long for two bytes in almost random data.
_EOI = re.compile(rb"\xff\xd9")
_EOI_CODE, _SOS_CODE = 0xD9, 0xDA
# Every marker except FF 00 (an FF in the pixels), FF FF (fill bytes) and restart markers.
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
# Markers without length and content.
_BARE_MARKERS = frozenset({0x01, 0xD8})
_PADDING = re.compile(rb"\0*")


def find_extent(data: bytes) -> Extent:
    """Return how far a JPEG reaches, including what cameras write after it.

    That is padding, further JPEGs (MPO, gain maps), an MP4 (motion photos), or Samsung's trailer.
    """
    at = find_end(data, 0)
    while at < len(data):
        rest = _past_zeros(data, at)
        if data.startswith(b"\xff\xd8\xff", rest):
            at = find_end(data, rest)
        elif (film := data.find(b"ftyp", at + 4, rest + 8) - 4) >= at:  # also begins with zeros
            at = boxes.find_end(data, film)
        elif at <= (samsung.find_start(data) or 0) <= rest:  # so does this
            at = len(data)
        else:
            break
    return Extent(at)


def find_end(data: bytes, start: int) -> int:
    """Return where the JPEG that begins at `start` ends."""
    at = start + 2
    looked_ahead = False
    while marker := _MARKER.search(data, at):
        code, at = marker[0][1], marker.end()
        if code == _EOI_CODE:
            return at
        if code not in _BARE_MARKERS:
            at += int.from_bytes(data[at : at + 2])
        if code == _SOS_CODE and not looked_ahead:
            # Much faster than going from marker to marker. In nearly all files, the first candidate
            # is at the very end; anywhere else it may be part of a table between two scans.
            first = _EOI.search(data, at)
            if first and first.end() == len(data):
                return first.end()
            looked_ahead = True
    raise truncated_error(len(data), "the marker that ends a JPEG (EOI)")


def _past_zeros(data: bytes, at: int) -> int:
    padding = _PADDING.match(data, at)
    return padding.end() if padding else at
