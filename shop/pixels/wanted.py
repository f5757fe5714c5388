"""What is asked for, and what came of it."""

from dataclasses import dataclass
from typing import Literal

# Goes up when the same file becomes another image: the old ones are kept beside the new.
CODEC = "1"

# Of a request to the process that makes images, and of its answer.
PACKET_BYTES = 1 << 16

Format = Literal["jpeg", "webp", "avif"]


@dataclass(frozen=True, slots=True)
class ImageRequest:
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
    max_jpeg_pixels: int
    """Of a JPEG, which is decoded at reduced size."""
    max_frames: int
    """Frames, or pages of a TIFF."""
    strict: bool = False
    """Refuse what is harmless in an image that is re-encoded, but not in an original that is
    served: bytes behind its end, a name for another format, a script anywhere in it."""

    def most_pixels(self, kind: str) -> int:
        """Return how many pixels an image of a format may have."""
        return self.max_jpeg_pixels if kind == "JPEG" else self.max_pixels


@dataclass(frozen=True, slots=True)
class ConvertedImage:
    """An image that was written."""

    media_type: str
    width: int
    height: int
    frames: int
    notes: tuple[str, ...] = ()
    """What is odd about the file, and was no reason to refuse it."""
