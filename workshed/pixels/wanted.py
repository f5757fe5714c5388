"""What is asked for, and what came of it."""

from dataclasses import dataclass
from typing import Literal

# Goes up when the same file becomes another image: the old ones are kept beside the new.
CODEC = "1"

# Of a request to the process that makes images, and of its answer.
PACKET_BYTES = 1 << 16

Format = Literal["jpeg", "webp", "avif"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an image shall become, and the limits within which it is looked at."""

    width: int
    """Of the box it fits within, in pixels; it is never made larger than it is."""
    height: int
    quality: int
    """1 to 100, as the encoder of the format understands it."""
    format: Format
    suffix: str
    """End of the file's name, like `.png`, which must fit what it holds; empty: it has none."""
    max_bytes: int
    max_pixels: int
    """Of the image or, if it moves, of one frame."""
    max_frames: int
    """Frames, or pages of a TIFF."""


@dataclass(frozen=True, slots=True)
class Made:
    """An image that was written."""

    media_type: str
    width: int
    height: int
    frames: int
