"""Whether the pixels of a TIFF lie in its file."""

from PIL.TiffImagePlugin import (
    STRIPBYTECOUNTS,
    STRIPOFFSETS,
    TILEBYTECOUNTS,
    TILEOFFSETS,
    TiffImageFile,
)

from shop.pixels.ends.extent import truncated


def check(image: TiffImageFile, size_bytes: int) -> None:
    """Refuse a compressed TIFF of which a part is missing; some decoders take it for white.

    Pillow itself sees that of one that is not compressed, whose lengths are wrong at times.
    """
    if image.info.get("compression") == "raw":
        return
    for offsets, lengths in ((STRIPOFFSETS, STRIPBYTECOUNTS), (TILEOFFSETS, TILEBYTECOUNTS)):
        pairs = zip(image.tag_v2.get(offsets, ()), image.tag_v2.get(lengths, ()), strict=False)
        end = max((offset + length for offset, length in pairs), default=0)
        if end > size_bytes:
            raise truncated(size_bytes, f"the rest of the pixels, which end at {end}")
