"""Broken files: each becomes an image that fits or is refused, and nothing else happens."""

import random
from io import BytesIO

import pytest
from PIL import Image

from shop.pixels import RefusedError
from shop.pixels.conversion import convert_image
from tests.service.unit.pixels.samples import SAMPLES

SEED = 7


def chances(name):
    return random.Random(f"{SEED} {name}")  # noqa: S311 -- the same in each run


def check(data, image_request):
    """Return whether an image was made."""
    target = BytesIO()
    try:
        made = convert_image(BytesIO(data), target, image_request)
    except RefusedError:
        assert target.getvalue() == b""
        return False
    with Image.open(target) as image:
        for frame in range(made.frames):
            image.seek(frame)
            image.load()
        assert image.size == (made.width, made.height)
    assert made.width <= image_request.width
    assert made.height <= image_request.height
    return True


@pytest.mark.parametrize("name", SAMPLES)
def test_a_bit_that_is_flipped(name, small, scale):
    data, chance = SAMPLES[name][1], chances(name)

    for _ in range(scale(1500)):
        broken = bytearray(data)
        broken[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        check(bytes(broken), small)


@pytest.mark.parametrize("name", SAMPLES)
def test_bytes_that_are_written_over(name, small, scale):
    """Mostly in the headers, which hold the numbers that decoders trust."""
    data, chance = SAMPLES[name][1], chances(name)

    for _ in range(scale(500)):
        broken = bytearray(data)
        at = min(int(chance.expovariate(1 / 60)), len(data) - 1)
        broken[at : at + 4] = chance.choice(
            [b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"\0\0\0\1"]
        )
        check(bytes(broken), small)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_file_that_ends_anywhere(name, small, scale):
    data, chance = SAMPLES[name][1], chances(name)
    lengths = sorted(chance.sample(range(len(data)), min(scale(1500), len(data))))

    made = [length for length in lengths if check(data[:length], small)]

    # A TIFF's directory comes last, and its last bytes may be only a resolution. In an MPO, the
    # first picture alone is a whole image.
    whole = data.index(b"\xff\xd9\xff\xd8") + 2 if name == "mpo" else None
    assert set(made) <= {whole} or name.endswith("tiff")
