"""Shrinking one picture, or one frame of an animation."""

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from shop.pixels.colours import to_srgb
from shop.pixels.fit import fit
from shop.pixels.orientation import lies_on_its_side, turn
from shop.pixels.plain import plain


def shrink(image: Image.Image, width: int, height: int) -> Image.Image:
    """Return the picture upright, in sRGB, within the box, as L, LA, RGB or RGBA.

    The result has pixels only, because encoders would write what they find in `info`.
    """
    if not isinstance(image, JpegImageFile):  # `draft` makes a JPEG load at reduced size
        image.load()
    turned = turn(image)
    size = fit(*image.size, *((height, width) if lies_on_its_side(turned) else (width, height)))
    drafted = image.draft(None, size)
    profile = image.info.get("icc_profile")
    small = plain(image).resize(size, Image.Resampling.BICUBIC, drafted[1] if drafted else None)
    small = to_srgb(small, profile)
    if turned is not None:
        small = small.transpose(turned)
    small.info = {}
    return small
