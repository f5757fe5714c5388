"""The orientation of the camera, from EXIF."""

import struct

from PIL import Image
from PIL.ExifTags import Base

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = frozenset(
    {
        Image.Transpose.TRANSPOSE,
        Image.Transpose.ROTATE_270,
        Image.Transpose.TRANSVERSE,
        Image.Transpose.ROTATE_90,
    }
)
# What Pillow raises for broken EXIF; such an image is not turned.
_UNREADABLE = (
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
)


def find_transpose(image: Image.Image) -> Image.Transpose | None:
    """Return what turns the image upright; `None` if it is upright, or has no valid orientation.

    A loaded TIFF has none any more, because Pillow has turned it. A HEIC is turned by its decoder,
    by its own properties; its EXIF is a copy of these, and must not turn it again.
    """
    if image.format == "HEIF":
        return None
    try:
        return _TURNS.get(image.getexif().get(Base.Orientation, 1))
    except _UNREADABLE:
        return None


def is_sideways(turned: Image.Transpose | None) -> bool:
    """Return whether turning swaps width and height."""
    return turned in _SIDEWAYS
