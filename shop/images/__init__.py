"""Images made from uploads, each from one content and one set of options."""

from shop.images.attachments import (
    Original,
    create_attachment,
    get_original,
    record_refusal,
    replace_content,
)
from shop.images.conversion import convert_image
from shop.images.errors import ImageRefusedError
from shop.images.options import InvalidOptionsError, Options
from shop.images.variants import Variant, record_variant
from shop.images.variants import find_variant as find_variant
from workshed.contrib.storage.blobs import Blob, keep

__all__ = [
    "Blob",
    "ImageRefusedError",
    "InvalidOptionsError",
    "Options",
    "Original",
    "Variant",
    "convert_image",
    "create_attachment",
    "find_variant",
    "get_original",
    "keep",
    "record_refusal",
    "record_variant",
    "replace_content",
]
