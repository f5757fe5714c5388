"""Conversion of the many pixel modes to those that can be shrunk."""

from PIL import Image
from PIL.TiffImagePlugin import BITSPERSAMPLE, TiffImageFile

# What each mode becomes. Modes that are not listed stay: L, LA, RGB, RGBA, CMYK and LAB.
_OPAQUE_MODES = {"1": "L", "P": "RGB", "RGBX": "RGB", "YCbCr": "RGB"}
_ALPHA_MODES = {
    "1": "LA",
    "L": "LA",
    "La": "LA",
    "P": "RGBA",
    "PA": "RGBA",
    "RGB": "RGBA",
    "RGBa": "RGBA",
}
_WITHOUT_ALPHA = {"LA": "L", "RGBA": "RGB"}


def convert_mode(image: Image.Image) -> Image.Image:
    """Return an image as L, LA, RGB, RGBA, CMYK or LAB, with alpha only if it has an effect."""
    if image.mode.startswith("I;16"):
        return _to_8_bits(image)
    modes = _ALPHA_MODES if image.has_transparency_data else _OPAQUE_MODES
    mode = modes.get(image.mode, image.mode)
    return drop_idle_alpha(image if mode == image.mode else image.convert(mode))


def drop_idle_alpha(image: Image.Image) -> Image.Image:
    """Return an image without its alpha channel if that is opaque everywhere."""
    opaque = _WITHOUT_ALPHA.get(image.mode)
    if opaque is None or image.getchannel("A").getextrema() != (255, 255):
        return image
    return image.convert(opaque)


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Scale grey of up to 16 bits to 8 bits; Pillow would clip values above 255."""
    scale = 255 / ((1 << _bits(image)) - 1)
    wide = image if image.mode == "I;16" else image.convert("I")
    grey = wide.point(lambda value: value * scale + 0.5).convert("L")
    if "transparency" in image.info:
        grey.putalpha(image.convert("LA").getchannel("A"))
    grey.info = {}
    return grey


def _bits(image: Image.Image) -> int:
    if isinstance(image, TiffImageFile):
        return int(image.tag_v2.get(BITSPERSAMPLE, (16,))[0])
    return 16
