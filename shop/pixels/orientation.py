"""How the camera was held."""

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
_ON_ITS_SIDE = frozenset(
    {
        Image.Transpose.TRANSPOSE,
        Image.Transpose.ROTATE_270,
        Image.Transpose.TRANSVERSE,
        Image.Transpose.ROTATE_90,
    }
)
# What Pillow raises for EXIF that is broken; such an image is shown as it lies.
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


def turn(image: Image.Image) -> Image.Transpose | None:
    """Return what sets the image upright, `None` where it is, or says nothing that makes sense.

    A TIFF says nothing once it is loaded: Pillow has turned it then. A HEIC is turned by its
    decoder, as its own properties say; what its EXIF says is a copy, and must not turn it again.
    """
    if image.format == "HEIF":
        return None
    try:
        return _TURNS.get(image.getexif().get(Base.Orientation, 1))
    except _UNREADABLE:
        return None


def lies_on_its_side(turned: Image.Transpose | None) -> bool:
    """Whether width and height change places."""
    return turned in _ON_ITS_SIDE
