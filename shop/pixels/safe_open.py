"""Opening images with Pillow: only the supported ones of its 43 formats, errors as refusals."""

import re
import struct
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from io import BytesIO

# Each import registers a format. Without them, Pillow would load the plugins of all its formats.
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

from shop.pixels import heic, tiff_strips
from shop.pixels.errors import RefusedError
from shop.pixels.request import ImageRequest
from shop.pixels.validation import check_frames

# One thread, because the worker has other work for the other processors.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1

# Everything that Pillow was observed to raise for broken data.
_DECODE_ERRORS = (
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
# Messages of Pillow's decoders and of libheif when memory is short. libheif's "Memory allocation
# error" alone is not enough, because it also stands for broken sizes and libheif's own limits.
_OUT_OF_MEMORY = re.compile(r"out of memory|Allocating \d+ bytes failed", re.IGNORECASE)
_LONGEST_REASON = 300
_pixel_limit: ContextVar[int] = ContextVar("pixels that an image may have")
# An error may quote the file, and PostgreSQL refuses NUL in a text.
_UNPRINTABLE = re.compile(r"[^ -~]")


@contextmanager
def translate_errors(request: ImageRequest) -> Generator[None]:
    """Turn Pillow's errors into refusals; the block must write to memory only."""
    # Pillow raises above twice its limit, also for images that grow while they are decoded.
    before = Image.MAX_IMAGE_PIXELS
    _set_pixel_limit(max(request.max_pixels, request.max_jpeg_pixels))
    try:
        yield
    except Image.DecompressionBombError as err:
        found = re.search(r"\d+", str(err))
        raise _too_large_error(int(found[0]) if found else 0, _pixel_limit.get()) from err
    except UnidentifiedImageError as err:  # its text is about Python's file object
        raise RefusedError("it cannot be decoded: its header is broken") from err
    except _DECODE_ERRORS as err:
        reason = _UNPRINTABLE.sub("?", f"{err}")[:_LONGEST_REASON] or type(err).__name__
        if _OUT_OF_MEMORY.search(reason):
            raise MemoryError(reason) from err
        raise RefusedError(f"it cannot be decoded: {reason}") from err
    finally:
        Image.MAX_IMAGE_PIXELS = before


def open_image(data: bytes, kind: str, request: ImageRequest) -> ImageFile.ImageFile:
    """Open an image and read its header; raises `RefusedError` for one that is too large."""
    most = request.pixel_limit(kind)
    _set_pixel_limit(most)
    if kind == "HEIF":
        heic.prepare_heic(data)
    image = Image.open(BytesIO(data), formats=[kind])
    if image.width * image.height > most:
        raise _too_large_error(image.width * image.height, most)
    if image.mode in {"F", "I"}:
        raise RefusedError(f"its pixels are signed or 32-bit numbers (mode {image.mode})")
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        tiff_strips.check_strips(image, len(data))
    if kind in {"AVIF", "HEIF", "PNG"}:  # for other formats, `judge` has counted them
        what = "pictures" if kind == "HEIF" else "frames"
        check_frames(getattr(image, "n_frames", 1), request.max_frames, what)
    return image


def _set_pixel_limit(pixels: int) -> None:
    """Make Pillow raise for more pixels than these."""
    Image.MAX_IMAGE_PIXELS = (pixels + 1) // 2
    _pixel_limit.set(pixels)


def _too_large_error(pixels: int, limit: int) -> RefusedError:
    return RefusedError(f"it has {pixels} pixels; at most {limit} are allowed")
