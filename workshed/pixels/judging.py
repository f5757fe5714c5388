"""Which files are looked at further. Nothing is decoded here."""

from typing import BinaryIO

from workshed.pixels import disguises, ends, kinds
from workshed.pixels.errors import RefusedError
from workshed.pixels.wanted import Wanted


def content(source: BinaryIO, max_bytes: int) -> bytes:
    """Read a file from its beginning; raises `RefusedError` when it is empty or too long."""
    size = source.seek(0, 2)
    source.seek(0)
    if size == 0:
        raise RefusedError("it is empty (0 bytes)")
    if size > max_bytes:
        raise RefusedError(f"it has {size} bytes; at most {max_bytes} are allowed")
    return source.read()


def judge(data: bytes, wanted: Wanted) -> tuple[str, int]:
    """Return the format and the frames of a file that is an image, whole, and nothing else.

    Raises `RefusedError` otherwise, also when it is named for another format.
    """
    kind = kinds.kind(data)
    kinds.check_name(wanted.suffix, kind)
    disguises.check(data)
    frames = ends.extent(kind, data).frames
    check_frames(frames, wanted.max_frames, "pages" if kind == "TIFF" else "frames")
    return kind, frames


def check_frames(count: int, limit: int, what: str = "frames") -> None:
    """Refuse an image that has more frames than are allowed."""
    if count > limit:
        raise RefusedError(f"it has {count} {what}; at most {limit} are allowed")
