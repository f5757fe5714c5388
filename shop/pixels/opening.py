"""Pillow, with the formats that are wanted and no other of its 43, and its errors as refusals."""

import re
import struct
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from io import BytesIO

# Each registers its format. Without them Pillow would load the plugins of all its formats.
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    Image,
    ImageCms,
    ImageFile,
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
)

from shop.pixels import heic, strips
from shop.pixels.errors import RefusedError
from shop.pixels.judging import check_frames
from shop.pixels.wanted import ImageRequest

# The worker beside this process has work for the other processors.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1

# All that Pillow was seen to raise for broken data.
_STUMBLES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImageCms.PyCMSError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
# What Pillow's decoders say when memory is short, and libheif. Its "Memory allocation error" alone
# says less: broken sizes and its own limits have that name, too.
_OUT_OF_MEMORY = re.compile(r"out of memory|Allocating \d+ bytes failed", re.IGNORECASE)
_LONGEST_REASON = 300
_limit_of: ContextVar[int] = ContextVar("pixels that an image may have")
# It may quote the file, and PostgreSQL takes no zeros in a text.
_UNPRINTABLE = re.compile(r"[^ -~]")


@contextmanager
def decoding(wanted: ImageRequest) -> Generator[None]:
    """Refuse what Pillow cannot decode; what is written inside goes to memory only."""
    # Pillow raises above twice its limit, also for what grows while it is decoded.
    before = Image.MAX_IMAGE_PIXELS
    _limit(max(wanted.max_pixels, wanted.max_jpeg_pixels))
    try:
        yield
    except Image.DecompressionBombError as err:
        found = re.search(r"\d+", str(err))
        raise _too_large(int(found[0]) if found else 0, _limit_of.get()) from err
    except UnidentifiedImageError as err:  # its text is about Python's file object
        raise RefusedError("it cannot be decoded: its header is broken") from err
    except _STUMBLES as err:
        reason = _UNPRINTABLE.sub("?", f"{err}")[:_LONGEST_REASON] or type(err).__name__
        if _OUT_OF_MEMORY.search(reason):
            raise MemoryError(reason) from err
        raise RefusedError(f"it cannot be decoded: {reason}") from err
    finally:
        Image.MAX_IMAGE_PIXELS = before


def opened(data: bytes, kind: str, wanted: ImageRequest) -> ImageFile.ImageFile:
    """Open an image and read its header; raises `RefusedError` for one that is too large."""
    most = wanted.most_pixels(kind)
    _limit(most)
    if kind == "HEIF":
        heic.prepare(data)
    image = Image.open(BytesIO(data), formats=[kind])
    if image.width * image.height > most:
        raise _too_large(image.width * image.height, most)
    if image.mode in {"F", "I"}:
        raise RefusedError(f"its pixels are signed or 32-bit numbers (mode {image.mode})")
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        strips.check(image, len(data))
    if kind in {"AVIF", "HEIF", "PNG"}:  # of the others they were counted before
        what = "pictures" if kind == "HEIF" else "frames"
        check_frames(getattr(image, "n_frames", 1), wanted.max_frames, what)
    return image


def _limit(pixels: int) -> None:
    """Let Pillow raise for more pixels than these."""
    Image.MAX_IMAGE_PIXELS = (pixels + 1) // 2
    _limit_of.set(pixels)


def _too_large(pixels: int, limit: int) -> RefusedError:
    return RefusedError(f"it has {pixels} pixels; at most {limit} are allowed")
