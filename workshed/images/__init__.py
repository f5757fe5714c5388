"""Images made of what people upload: each of one content and one set of options."""

from workshed.blobs import Blob, keep
from workshed.images.attachments import Original, attach, find, refuse, replace
from workshed.images.errors import ImageRefusedError
from workshed.images.making import make
from workshed.images.options import InvalidOptionsError, Options
from workshed.images.variants import Variant, record
from workshed.images.variants import find as find_variant

__all__ = [
    "Blob",
    "ImageRefusedError",
    "InvalidOptionsError",
    "Options",
    "Original",
    "Variant",
    "attach",
    "find",
    "find_variant",
    "keep",
    "make",
    "record",
    "refuse",
    "replace",
]
