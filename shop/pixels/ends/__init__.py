"""Where images end: decoders read what they need and never look whether there is more, or less."""

import re
from collections.abc import Callable

from shop.pixels.ends import bmp, boxes, gif, jpeg, png, tiff, webp
from shop.pixels.ends.extent import Extent
from shop.pixels.errors import RefusedError
from shop.pixels.kinds import called

_EXTENTS: dict[str, Callable[[bytes], Extent]] = {
    "AVIF": boxes.extent,
    "BMP": bmp.extent,
    "GIF": gif.extent,
    "HEIF": boxes.extent,
    "JPEG": jpeg.extent,
    "PNG": png.extent,
    "TIFF": tiff.extent,
    "WEBP": webp.extent,
}
_NOT_ZERO = re.compile(rb"[^\0]")


def extent(kind: str, data: bytes) -> tuple[Extent, str | None]:
    """Return how far the image reaches, and what is wrong with more that follows it.

    Zeros may follow: cameras and disks pad with them. So may what phones are known to write behind
    their pictures. Raises `RefusedError` when less is there than the image.
    """
    try:
        found = _EXTENTS[kind](data)
    except RefusedError as err:
        if kind != "JPEG":
            raise
        # It may be whole, and what follows it cut off.
        return Extent(jpeg.end(data, 0)), err.reason
    if other := _NOT_ZERO.search(data, found.end):
        more = len(data) - other.start()
        return found, f"{more} bytes follow the end of the {called(kind)} at {found.end}"
    return found, None
