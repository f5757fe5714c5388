"""The one function of this package: an image that fits, made of a file that nobody trusts."""

import warnings
from dataclasses import replace
from io import BytesIO
from typing import BinaryIO

from shop.pixels import moving, still
from shop.pixels.fit import LONGEST_SIDE_PX
from shop.pixels.judging import Judged, content, judge
from shop.pixels.opening import decoding, opened
from shop.pixels.shrinking import shrink
from shop.pixels.wanted import ConvertedImage, ImageRequest


def make(source: BinaryIO, target: BinaryIO, wanted: ImageRequest) -> ConvertedImage:
    """Write to `target` what is wanted of the image in `source`; both from their beginning.

    Raises `RefusedError` when the image is to blame, and `MemoryError` as it comes. Any other error
    is about the files or about us; so nothing but reading and writing them is outside `decoding`.
    """
    data = content(source, wanted.max_bytes)
    file = BytesIO()
    with warnings.catch_warnings(), decoding(wanted):
        warnings.simplefilter("ignore")  # Pillow warns of much that is refused, or ignored
        made = _encode(data, file, wanted)
    target.seek(0)
    target.write(file.getbuffer())
    target.truncate()
    target.flush()
    return made


def _encode(data: bytes, file: BytesIO, wanted: ImageRequest) -> ConvertedImage:
    judged = judge(data, wanted)
    made = _written(data, judged, file, wanted)
    return replace(made, notes=judged.notes)


def _written(data: bytes, judged: Judged, file: BytesIO, wanted: ImageRequest) -> ConvertedImage:
    with opened(data, judged.kind, wanted) as image:
        shown = moving.frames(image, judged.kind, judged.frames)
        if len(shown) > 1:
            return moving.write(image, shown, judged.kind, file, wanted)
        longest = LONGEST_SIDE_PX[wanted.format]
        small = shrink(image, min(wanted.width, longest), min(wanted.height, longest))
        return still.write(small, file, wanted)
