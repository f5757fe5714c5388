"""Where an image ends in its file; decoders do not check for truncated or additional data."""

import re
from collections.abc import Callable

from shop.pixels.errors import RefusedError
from shop.pixels.file_extent import bmp, boxes, gif, jpeg, png, tiff, webp
from shop.pixels.file_extent.extent import Extent
from shop.pixels.formats import display_name

_EXTENTS: dict[str, Callable[[bytes], Extent]] = {
    "AVIF": boxes.find_extent,
    "BMP": bmp.find_extent,
    "GIF": gif.find_extent,
    "HEIF": boxes.find_extent,
    "JPEG": jpeg.find_extent,
    "PNG": png.find_extent,
    "TIFF": tiff.find_extent,
    "WEBP": webp.find_extent,
}
_NOT_ZERO = re.compile(rb"[^\0]")


def find_extent(kind: str, data: bytes) -> tuple[Extent, str | None]:
    """Return how far the image reaches, and what is wrong with data that follows it.

    Zeros may follow, because cameras and disks pad with them, and so may data that phones are known
    to write after their pictures. Raises `RefusedError` if the image is truncated.
    """
    try:
        found = _EXTENTS[kind](data)
    except RefusedError as err:
        if kind != "JPEG":
            raise
        # The JPEG itself may be complete, and only the data after it cut off.
        return Extent(jpeg.find_end(data, 0)), err.reason
    if other := _NOT_ZERO.search(data, found.end):
        more = len(data) - other.start()
        return found, f"{more} bytes follow the end of the {display_name(kind)} at {found.end}"
    return found, None
