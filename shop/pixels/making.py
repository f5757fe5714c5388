"""The entry point of this package: makes an image that fits from an untrusted file."""

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
    """Convert the image in `source` and write it to `target`; both from their beginning.

    Raises `RefusedError` if the image is the cause, and `MemoryError` unchanged. Any other error
    concerns the files or this program, so everything except reading and writing the files is inside
    `decoding`.
    """
    data = content(source, wanted.max_bytes)
    file = BytesIO()
    with warnings.catch_warnings(), decoding(wanted):
        warnings.simplefilter("ignore")  # of things that are refused here, or do not matter
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
