"""The request for an image, and its result."""

from dataclasses import dataclass
from typing import Literal

# Increase it when the same file becomes a different image. Old variants are kept with new ones.
CODEC = "1"

# Largest request to the decoder process, and largest answer.
PACKET_BYTES = 1 << 16

Format = Literal["jpeg", "webp", "avif"]


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """What an image is to become, and the limits for the source file."""

    width: int
    """Width of the box that it must fit within, in pixels; images are never enlarged."""
    height: int
    quality: int
    """1 to 100, as the format's encoder interprets it."""
    format: Format
    suffix: str
    """Suffix of the file's name, for example `.png`, to compare with its format; may be empty."""
    max_bytes: int
    max_pixels: int
    """Pixels of the image or, in an animation, of one frame."""
    max_jpeg_pixels: int
    """Pixels of a JPEG, which is decoded at reduced size."""
    max_frames: int
    """Frames, or pages of a TIFF."""
    strict: bool = False
    """Refuse files that are harmless when re-encoded, but not when the original is served: with
    bytes after the image, a suffix of another format, or a script anywhere."""

    def pixel_limit(self, kind: str) -> int:
        """Return how many pixels an image of a format may have."""
        return self.max_jpeg_pixels if kind == "JPEG" else self.max_pixels


@dataclass(frozen=True, slots=True)
class ConvertedImage:
    """The image that was written."""

    media_type: str
    width: int
    height: int
    frames: int
    notes: tuple[str, ...] = ()
    """Oddities of the file that were no reason to refuse it."""
