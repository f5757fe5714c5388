"""Checks of a file before it is decoded."""

from dataclasses import dataclass
from typing import BinaryIO

from shop.pixels import file_extent, formats, polyglots
from shop.pixels.errors import RefusedError
from shop.pixels.request import ImageRequest


def read_content(source: BinaryIO, max_bytes: int) -> bytes:
    """Read a file from its beginning; raises `RefusedError` if it is empty or too long."""
    size = source.seek(0, 2)
    source.seek(0)
    if size == 0:
        raise RefusedError("it is empty (0 bytes)")
    if size > max_bytes:
        raise RefusedError(f"it has {size} bytes; at most {max_bytes} are allowed")
    return source.read()


@dataclass(frozen=True, slots=True)
class IdentifiedImage:
    """A file that was found to be an image."""

    kind: str
    frames: int
    notes: tuple[str, ...]
    """Oddities, for which a strict check would refuse it."""


def identify_image(data: bytes, request: ImageRequest) -> IdentifiedImage:
    """Check that a file is a complete image of a known format.

    Raises `RefusedError` if it is not. If `strict` is requested, it also raises for a file name of
    another format, and for data after the image.
    """
    kind = formats.detect_format(data)
    polyglots.refuse_polyglot(data, strict=request.strict)
    extent, rest = file_extent.find_extent(kind, data)
    notes = tuple(filter(None, (formats.find_suffix_problem(request.suffix, kind), rest)))
    if notes and request.strict:
        raise RefusedError(notes[0])
    check_frames(extent.frames, request.max_frames, "pages" if kind == "TIFF" else "frames")
    return IdentifiedImage(kind, extent.frames, notes)


def check_frames(count: int, limit: int, what: str = "frames") -> None:
    """Raise `RefusedError` for an image with more frames than allowed."""
    if count > limit:
        raise RefusedError(f"it has {count} {what}; at most {limit} are allowed")
