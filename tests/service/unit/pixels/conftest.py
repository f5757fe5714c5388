"""Making an image from bytes, without the separate process."""

from io import BytesIO
from typing import NamedTuple

import pytest
from PIL import Image

from shop.pixels import ConvertedImage, ImageRequest, RefusedError
from shop.pixels.conversion import convert_image


class Outcome(NamedTuple):
    made: ConvertedImage
    data: bytes
    image: Image.Image


@pytest.fixture(scope="session")
def image_request():
    """`image_request(width=20, …)`: the request of the default settings, with changes."""

    def change(**values):
        usual = {
            "width": 800,
            "height": 600,
            "quality": 85,
            "format": "jpeg",
            "suffix": "",
            "max_bytes": 30_000_000,
            "max_pixels": 40_000_000,
            "max_frames": 500,
            "strict": True,  # checks more
        }
        given = usual | values
        return ImageRequest(**{"max_jpeg_pixels": given["max_pixels"]} | given)

    return change


@pytest.fixture(scope="session")
def variant(image_request):
    """`variant(data, width=20, …)`: the result, its bytes, and the image that Pillow reads."""

    def run(data, **values):
        target = BytesIO(b"left over from before, and longer than what is made" * 1000)
        made = convert_image(BytesIO(data), target, image_request(**values))
        image = Image.open(BytesIO(target.getvalue()))
        image.load()
        assert image.size == (made.width, made.height)
        assert image.get_format_mimetype() == made.media_type
        assert getattr(image, "n_frames", 1) == made.frames
        return Outcome(made, target.getvalue(), image)

    return run


@pytest.fixture(scope="session")
def refusal(image_request):
    """`refusal(data, suffix=".png", …)`: the reason why the file is refused."""

    def run(data, **values):
        target = BytesIO()
        with pytest.raises(RefusedError) as refused:
            convert_image(BytesIO(data), target, image_request(**values))
        assert target.getvalue() == b""
        return refused.value.reason

    return run


@pytest.fixture(scope="session")
def small(image_request):
    """A limit of few pixels; otherwise one flipped bit of the size would cost megabytes."""
    return image_request(width=20, height=20, max_pixels=1_000_000, max_frames=20)
