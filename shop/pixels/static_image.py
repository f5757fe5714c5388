"""Writing a still picture."""

from io import BytesIO

from PIL import Image

from shop.pixels.request import ConvertedImage, ImageRequest

# From 0 to 10: slower encoding makes smaller files, and 8 takes as long as WebP.
_AVIF_SPEED = 8


def write_image(image: Image.Image, file: BytesIO, request: ImageRequest) -> ConvertedImage:
    """Encode a picture in the requested format; as PNG if a JPEG would lose its alpha channel."""
    match request.format:
        case "webp":
            image.save(file, "WEBP", quality=request.quality)
            media_type = "image/webp"
        case "avif":
            image.save(file, "AVIF", quality=request.quality, speed=_AVIF_SPEED, max_threads=1)
            media_type = "image/avif"
        case "jpeg" if image.mode in {"LA", "RGBA"}:
            image.save(file, "PNG")
            media_type = "image/png"
        case "jpeg":
            image.save(file, "JPEG", quality=request.quality)
            media_type = "image/jpeg"
    return ConvertedImage(media_type, *image.size, frames=1)
