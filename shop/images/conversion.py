"""Make an image from a content, and store it."""

import logging
from pathlib import PurePath

from shop.images import decoder
from shop.images.attachments import Original
from shop.images.options import Options
from shop.images.variants import Variant
from shop.pixels import ImageRequest
from shop.settings import ShopSettings, settings
from workshed.contrib.storage import blobs, storage

logger = logging.getLogger(__name__)


def convert_image(original: Original, options: Options) -> Variant:
    """Decode and shrink an image, and store the result, which nothing refers to yet.

    Raises `ImageRefusedError` with the reason if the file cannot become an image. The image is not
    the cause of any other exception. Do not call this in a transaction: it may take minutes.
    """
    store = storage()
    with store.open(original.sha256) as source, store.draft() as target:
        made = decoder.decode(source, target, build_request(original, options, settings()))
        blob = blobs.keep(target)
    for note in made.notes:
        logger.info("attachment %d: %s", original.attachment_id, note)
    return Variant(blob.sha256, made.media_type, made.width, made.height, made.frames)


def build_request(original: Original, options: Options, config: ShopSettings) -> ImageRequest:
    """Return the request for the decoder."""
    return ImageRequest(
        width=options.width,
        height=options.height,
        quality=options.quality,
        format=options.format,
        suffix=PurePath(original.filename).suffix,
        max_bytes=config.image_max_bytes,
        max_pixels=config.image_max_pixels,
        max_jpeg_pixels=config.image_max_jpeg_pixels,
        max_frames=config.image_max_frames,
        strict=config.image_strict,
    )
