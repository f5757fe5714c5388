"""Where a WebP ends: a RIFF header with the length, then chunks."""

from shop.pixels.file_extent.extent import Extent, truncated_error

_HEADER_BYTES, _CHUNK_HEADER_BYTES = 12, 8


def find_extent(data: bytes) -> Extent:
    """Return how far a WebP reaches, and its number of frames."""
    end = 8 + int.from_bytes(data[4:8], "little")
    at, frames = _HEADER_BYTES, 0
    while at + _CHUNK_HEADER_BYTES <= min(end, len(data)):
        frames += data.startswith(b"ANMF", at)
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        at += _CHUNK_HEADER_BYTES + size + size % 2
    if len(data) < end or at > end + 1:
        raise truncated_error(
            len(data), f"the rest of the {max(at, end)} bytes that it has by its header"
        )
    return Extent(end, max(1, frames))
