"""How far an image reaches in its file."""

from dataclasses import dataclass

from shop.pixels.errors import RefusedError


@dataclass(frozen=True, slots=True)
class Extent:
    """Where an image ends in its file, and how many frames or pages it has, where that is told."""

    end: int
    frames: int = 1


def truncated(at: int, missing: str) -> RefusedError:
    """Return the error of a file that is over before its image is."""
    return RefusedError(f"it is truncated: after {at} bytes it lacks {missing}")
