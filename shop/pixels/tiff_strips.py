"""Checks that a TIFF file contains all of its pixels."""

from PIL.TiffImagePlugin import (
    STRIPBYTECOUNTS,
    STRIPOFFSETS,
    TILEBYTECOUNTS,
    TILEOFFSETS,
    TiffImageFile,
)

from shop.pixels.file_extent.extent import truncated_error


def check_strips(image: TiffImageFile, size_bytes: int) -> None:
    """Refuse a truncated compressed TIFF, whose missing part some decoders would show as white.

    Uncompressed files are not checked: Pillow detects those, and their lengths are sometimes wrong.
    """
    if image.info.get("compression") == "raw":
        return
    for offsets, lengths in ((STRIPOFFSETS, STRIPBYTECOUNTS), (TILEOFFSETS, TILEBYTECOUNTS)):
        pairs = zip(image.tag_v2.get(offsets, ()), image.tag_v2.get(lengths, ()), strict=False)
        end = max((offset + length for offset, length in pairs), default=0)
        if end > size_bytes:
            raise truncated_error(size_bytes, f"the rest of the pixels, which end at {end}")
