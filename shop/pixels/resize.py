"""Shrinking one picture, or one frame of an animation."""

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from shop.pixels.colours import to_srgb
from shop.pixels.fit import fit_within
from shop.pixels.orientation import find_transpose, is_sideways
from shop.pixels.pixel_modes import convert_mode


def shrink_image(image: Image.Image, width: int, height: int) -> Image.Image:
    """Return the picture upright, in sRGB, within the box, as L, LA, RGB or RGBA.

    The result has pixels only, because encoders would write what they find in `info`.
    """
    if not isinstance(image, JpegImageFile):  # `draft` makes a JPEG load at reduced size
        image.load()
    turned = find_transpose(image)
    size = fit_within(*image.size, *((height, width) if is_sideways(turned) else (width, height)))
    drafted = image.draft(None, size)
    profile = image.info.get("icc_profile")
    small = convert_mode(image).resize(
        size, Image.Resampling.BICUBIC, drafted[1] if drafted else None
    )
    small = to_srgb(small, profile)
    if turned is not None:
        small = small.transpose(turned)
    small.info = {}
    return small
