"""The entry point of this package: makes an image that fits from an untrusted file."""

import warnings
from dataclasses import replace
from io import BytesIO
from typing import BinaryIO

from shop.pixels import animation, static_image
from shop.pixels.fit import MAX_SIDE_PX
from shop.pixels.request import ConvertedImage, ImageRequest
from shop.pixels.resize import shrink_image
from shop.pixels.safe_open import open_image, translate_errors
from shop.pixels.validation import IdentifiedImage, identify_image, read_content


def convert_image(source: BinaryIO, target: BinaryIO, request: ImageRequest) -> ConvertedImage:
    """Convert the image in `source` and write it to `target`; both from their beginning.

    Raises `RefusedError` if the image is the cause, and `MemoryError` unchanged. Any other error
    concerns the files or this program, so everything except reading and writing the files is inside
    `decoding`.
    """
    data = read_content(source, request.max_bytes)
    file = BytesIO()
    with warnings.catch_warnings(), translate_errors(request):
        warnings.simplefilter("ignore")  # of things that are refused here, or do not matter
        made = _convert(data, file, request)
    target.seek(0)
    target.write(file.getbuffer())
    target.truncate()
    target.flush()
    return made


def _convert(data: bytes, file: BytesIO, request: ImageRequest) -> ConvertedImage:
    judged = identify_image(data, request)
    made = _write_image(data, judged, file, request)
    return replace(made, notes=judged.notes)


def _write_image(
    data: bytes, judged: IdentifiedImage, file: BytesIO, request: ImageRequest
) -> ConvertedImage:
    with open_image(data, judged.kind, request) as image:
        shown = animation.animation_frames(image, judged.kind, judged.frames)
        if len(shown) > 1:
            return animation.write_animation(image, shown, judged.kind, file, request)
        longest = MAX_SIDE_PX[request.format]
        small = shrink_image(image, min(request.width, longest), min(request.height, longest))
        return static_image.write_image(small, file, request)
