"""Conversion of colours to sRGB, which every screen can show."""

from functools import cache, lru_cache
from io import BytesIO

from PIL import Image, ImageChops, ImageCms

# The largest printer profiles have two to three million bytes; a larger one is an attack.
_LARGEST_PROFILE_BYTES = 4 << 20
# Each transform is cached with its tables, within the memory limit of this process.
_KEPT_TRANSFORMS = 8
# Levels, of 255: a profile that changes colours by no more than this is taken for sRGB.
_TOLERANCE = 2

_WITH_ALPHA = {"LA": "L", "RGBA": "RGB"}


def to_srgb(image: Image.Image, profile: object) -> Image.Image:
    """Return the image as L, LA, RGB or RGBA in sRGB.

    A profile that is broken, or made for another kind of pixels, is ignored.
    """
    mode = _WITH_ALPHA.get(image.mode, image.mode)
    transform = None
    if isinstance(profile, bytes) and len(profile) <= _LARGEST_PROFILE_BYTES and mode != "LAB":
        transform = _transform(profile, mode)
    if transform is None:
        return image if mode in {"L", "RGB"} else image.convert("RGB")
    converted = transform.apply(image if mode == image.mode else image.convert(mode))
    if mode == "L":
        converted = converted.convert("L")
    if mode != image.mode:
        converted.putalpha(image.getchannel("A"))
    return converted


@lru_cache(maxsize=_KEPT_TRANSFORMS)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the transform to sRGB; `None` if none is needed, or the profile is unusable."""
    try:
        given = ImageCms.ImageCmsProfile(BytesIO(profile))
        transform = ImageCms.ImageCmsTransform(
            given,
            _srgb(),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (OSError, TypeError, ValueError, ImageCms.PyCMSError):
        return None
    return None if mode == "RGB" and _changes_nothing(transform) else transform


@cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    levels = range(0, 256, 51)
    colours = bytes(
        level
        for red in levels
        for green in levels
        for blue in levels
        for level in (red, green, blue)
    )
    sample = Image.frombytes("RGB", (len(colours) // 3, 1), colours)
    difference = ImageChops.difference(sample, transform.apply(sample)).tobytes()
    return max(difference) <= _TOLERANCE
