"""Images made from uploads, each from one content and one set of options."""

from shop.images.attachments import Original, attach, find, refuse, replace
from shop.images.errors import ImageRefusedError
from shop.images.making import make
from shop.images.options import InvalidOptionsError, Options
from shop.images.variants import Variant, record
from shop.images.variants import find as find_variant
from workshed.contrib.storage.blobs import Blob, keep

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
