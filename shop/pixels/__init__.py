"""Making an image fit: judged, decoded, shrunk, rewritten from its pixels.

Runs in a child process that holds no secret. Nothing here imports more than the standard library
and Pillow, and for a HEIC pillow-heif. What is imported with this package imports not even Pillow:
`shop.pixels.making` does.
"""

from shop.pixels.errors import RefusedError
from shop.pixels.wanted import CODEC, ConvertedImage, ImageRequest

__all__ = ["CODEC", "ConvertedImage", "ImageRequest", "RefusedError"]
