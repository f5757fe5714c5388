"""Where a JPEG ends, and what may follow it."""

import re

from shop.pixels.ends import boxes, samsung
from shop.pixels.ends.extent import Extent, truncated

# `bytes.find` takes three times as long for two bytes in as good as random ones.
_EOI = re.compile(rb"\xff\xd9")
_EOI_CODE, _SOS_CODE = 0xD9, 0xDA
# All but FF 00, which stands for an FF in the pixels, filling FF FF, and restarts.
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
# They have no length and no content.
_ALONE = frozenset({0x01, 0xD8})
_PADDING = re.compile(rb"\0*")


def extent(data: bytes) -> Extent:
    """Return how far a JPEG reaches with all that cameras write behind it.

    That is padding, further JPEGs (MPO, gain maps), an MP4 (motion photos), Samsung's trailer.
    """
    at = end(data, 0)
    while at < len(data):
        rest = _past_zeros(data, at)
        if data.startswith(b"\xff\xd8\xff", rest):
            at = end(data, rest)
        elif (film := data.find(b"ftyp", at + 4, rest + 8) - 4) >= at:  # it begins with zeros, too
            at = boxes.end(data, film)
        elif at <= (samsung.begin(data) or 0) <= rest:  # as does this
            at = len(data)
        else:
            break
    return Extent(at)


def end(data: bytes, start: int) -> int:
    """Return where the JPEG that begins at `start` ends."""
    at = start + 2
    looked_ahead = False
    while marker := _MARKER.search(data, at):
        code, at = marker[0][1], marker.end()
        if code == _EOI_CODE:
            return at
        if code not in _ALONE:
            at += int.from_bytes(data[at : at + 2])
        if code == _SOS_CODE and not looked_ahead:
            # Far quicker than from marker to marker. The first that may be the end is at the very
            # end of nearly all files; elsewhere it may be part of a table between two scans.
            first = _EOI.search(data, at)
            if first and first.end() == len(data):
                return first.end()
            looked_ahead = True
    raise truncated(len(data), "the marker that ends a JPEG (EOI)")


def _past_zeros(data: bytes, at: int) -> int:
    padding = _PADDING.match(data, at)
    return padding.end() if padding else at
