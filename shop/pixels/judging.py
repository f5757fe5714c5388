"""Which files are looked at further. Nothing is decoded here."""

from dataclasses import dataclass
from typing import BinaryIO

from shop.pixels import disguises, ends, kinds
from shop.pixels.errors import RefusedError
from shop.pixels.wanted import ImageRequest


def content(source: BinaryIO, max_bytes: int) -> bytes:
    """Read a file from its beginning; raises `RefusedError` when it is empty or too long."""
    size = source.seek(0, 2)
    source.seek(0)
    if size == 0:
        raise RefusedError("it is empty (0 bytes)")
    if size > max_bytes:
        raise RefusedError(f"it has {size} bytes; at most {max_bytes} are allowed")
    return source.read()


@dataclass(frozen=True, slots=True)
class Judged:
    """A file that is an image."""

    kind: str
    frames: int
    notes: tuple[str, ...]
    """What is odd about it, and would be refused if it were looked at strictly."""


def judge(data: bytes, wanted: ImageRequest) -> Judged:
    """Look at a file that should be an image, and whole.

    Raises `RefusedError` where it is not; if `strict` is wanted, also when it is named for another
    format, or when there is more in it than an image.
    """
    kind = kinds.kind(data)
    disguises.check(data, strict=wanted.strict)
    extent, rest = ends.extent(kind, data)
    notes = tuple(filter(None, (kinds.name_problem(wanted.suffix, kind), rest)))
    if notes and wanted.strict:
        raise RefusedError(notes[0])
    check_frames(extent.frames, wanted.max_frames, "pages" if kind == "TIFF" else "frames")
    return Judged(kind, extent.frames, notes)


def check_frames(count: int, limit: int, what: str = "frames") -> None:
    """Refuse an image that has more frames than are allowed."""
    if count > limit:
        raise RefusedError(f"it has {count} {what}; at most {limit} are allowed")
