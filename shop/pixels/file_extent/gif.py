"""Where a GIF ends: a header, then blocks, each with sub-blocks that a 0 terminates."""

from shop.pixels.errors import RefusedError
from shop.pixels.file_extent.extent import Extent, truncated_error

_HEADER_BYTES, _HEADER_FLAGS = 13, 10
_FRAME_BYTES, _FRAME_FLAGS = 10, 9


def find_extent(data: bytes) -> Extent:
    """Return how far a GIF reaches, and its number of frames."""
    try:
        return _find_extent(data)
    except IndexError:
        raise truncated_error(len(data), "the byte that ends a GIF (3B)") from None


def _find_extent(data: bytes) -> Extent:
    at, frames = _HEADER_BYTES + _palette_bytes(data[_HEADER_FLAGS]), 0
    while True:
        match data[at]:
            case 0x3B:
                return Extent(at + 1, frames)
            case 0x2C:
                frames += 1
                at += _FRAME_BYTES + _palette_bytes(data[at + _FRAME_FLAGS])
                at = _past_sub_blocks(data, at + 1)  # after LZW's minimum code size
            case 0x21:
                at = _past_sub_blocks(data, at + 2)
            case 0:
                at += 1  # some programs end a block twice
            case other:
                raise RefusedError(f"it cannot be decoded: no block of a GIF begins with {other}")


def _palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _past_sub_blocks(data: bytes, at: int) -> int:
    while size := data[at]:
        at += size + 1
    return at + 1
