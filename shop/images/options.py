"""Options of an image conversion."""

from dataclasses import dataclass

from shop.pixels.request import Format
from workshed.errors import PermanentError

MAX_SIDE_PX = 10_000


class InvalidOptionsError(PermanentError):
    """The options make no sense for any image."""


@dataclass(frozen=True, slots=True)
class Options:
    """The box that an image must fit within, in pixels, its quality (1 to 100), and its format."""

    width: int
    height: int
    quality: int
    format: Format

    def __post_init__(self) -> None:
        """Raise `InvalidOptionsError` for values out of range."""
        if not (0 < self.width <= MAX_SIDE_PX and 0 < self.height <= MAX_SIDE_PX):
            raise InvalidOptionsError(
                f"a box of {self.width}x{self.height} px; each side must have 1 to {MAX_SIDE_PX}"
            )
        if not 1 <= self.quality <= 100:  # noqa: PLR2004 -- the usual scale
            raise InvalidOptionsError(f"quality {self.quality}; it must be from 1 to 100")
