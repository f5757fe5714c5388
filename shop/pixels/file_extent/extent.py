"""How far an image reaches in its file."""

from dataclasses import dataclass

from shop.pixels.errors import RefusedError


@dataclass(frozen=True, slots=True)
class Extent:
    """Where an image ends in its file, and how many frames or pages it has, if the format says."""

    end: int
    frames: int = 1


def truncated_error(at: int, missing: str) -> RefusedError:
    """Return the error for a file that ends before its image does."""
    return RefusedError(f"it is truncated: after {at} bytes it lacks {missing}")
