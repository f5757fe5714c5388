"""Making an image fit: judged, decoded, shrunk, written anew from its pixels.

Runs in a child process that holds no secret. Nothing here imports more than the standard library
and Pillow, and for a HEIC pillow-heif. What is imported with this package imports not even Pillow:
`workshed.pixels.making` does.
"""

from workshed.extras import require
from workshed.pixels.errors import RefusedError
from workshed.pixels.wanted import CODEC, Made, Wanted

require("images", "PIL")

__all__ = ["CODEC", "Made", "RefusedError", "Wanted"]
