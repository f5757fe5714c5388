"""What is to be made of an image."""

from dataclasses import dataclass

from shop.pixels.wanted import Format
from workshed.errors import PermanentError

LARGEST_PX = 10_000


class InvalidOptionsError(PermanentError):
    """What a job asks for makes no sense, whatever the image is."""


@dataclass(frozen=True, slots=True)
class Options:
    """The box an image is to fit within, in pixels, its quality from 1 to 100, and its format."""

    width: int
    height: int
    quality: int
    format: Format

    def __post_init__(self) -> None:
        """Refuse what no codec could do; raises `InvalidOptionsError`."""
        if not (0 < self.width <= LARGEST_PX and 0 < self.height <= LARGEST_PX):
            raise InvalidOptionsError(
                f"a box of {self.width}x{self.height} px; each side must have 1 to {LARGEST_PX}"
            )
        if not 1 <= self.quality <= 100:  # noqa: PLR2004 -- the usual scale
            raise InvalidOptionsError(f"quality {self.quality}; it must be from 1 to 100")
