"""Support for HEIC, the photos of iPhones, in Pillow."""

from shop.pixels.errors import RefusedError
from shop.pixels.file_extent import boxes


def prepare_heic(data: bytes) -> None:
    """Let Pillow open this HEIC; raises `RefusedError` without a decoder, or for a film."""
    _register()
    if not boxes.has_box(data, b"meta"):
        raise RefusedError("it is a HEIC sequence without a still picture; only stills are read")


def _register() -> None:
    """Import the decoder when the first HEIC needs it, because it takes 30 MB of memory."""
    try:
        import pillow_heif  # noqa: PLC0415 -- it may be missing
    except ModuleNotFoundError as err:
        raise RefusedError(
            "it is a HEIC, which this installation cannot read: pip install 'pillow-heif>=1.4'"
        ) from err
    # The embedded thumbnail may show another picture, and nothing reads the other images. One
    # thread, because the worker has other work for the other processors.
    pillow_heif.register_heif_opener(
        thumbnails=False, depth_images=False, aux_images=False, decode_threads=1
    )
