"""Converting an image: it is checked, decoded, shrunk, and written again from its pixels.

This runs in a child process that holds no secrets. Its modules import only the standard library and
Pillow, and pillow-heif for HEIC. Importing the package itself does not import Pillow; importing
`shop.pixels.conversion` does.
"""

from shop.pixels.errors import RefusedError
from shop.pixels.request import CODEC, ConvertedImage, ImageRequest

__all__ = ["CODEC", "ConvertedImage", "ImageRequest", "RefusedError"]
