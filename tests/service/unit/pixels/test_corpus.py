"""Pillow's own test images: broken ones, and ones of all kinds that it supports."""

import random
from dataclasses import replace
from io import BytesIO

import PIL
import pytest

from shop.pixels import RefusedError
from shop.pixels.conversion import convert_image
from tests.root import ROOT
from tests.service.unit.pixels.test_fuzz import check

FOLDER = ROOT / "var" / "corpus" / f"pillow-{PIL.__version__}"
"""`sh .ci/corpus` fetches it."""
SEED = 7
FLIPS = 10
STEP = 1024
LEAST = 500

pytestmark = pytest.mark.corpus


@pytest.fixture(scope="module")
def corpus():
    """The bytes of each image."""
    files = [file for file in sorted(FOLDER.rglob("*")) if file.is_file()]
    assert len(files) >= LEAST, f"{FOLDER} has {len(files)} images; run `sh .ci/corpus`"
    return [file.read_bytes() for file in files]


@pytest.mark.filterwarnings("default")  # Pillow warns about files that it still reads
def test_each_image_becomes_one_that_fits_or_is_refused(corpus, small):
    made = [check(data, small) for data in corpus]

    assert len(corpus) > sum(made) > len(corpus) / 2


@pytest.mark.timeout(1800)
@pytest.mark.filterwarnings("default")
def test_each_that_is_cut_off_after_some_kibibytes(corpus, small):
    for data in corpus:
        for length in range(STEP, len(data), STEP):
            check(data[:length], small)


@pytest.mark.timeout(1800)
@pytest.mark.filterwarnings("default")
def test_each_with_a_bit_that_is_flipped(corpus, small):
    chance = random.Random(SEED)  # noqa: S311 -- the same in each run
    for data in corpus:
        for _ in range(FLIPS):
            broken = bytearray(data or b"\0")
            broken[chance.randrange(len(broken))] ^= 1 << chance.randrange(8)
            check(bytes(broken), small)


@pytest.mark.filterwarnings("default")
def test_images_of_pillow_are_not_refused_for_trailing_data_or_their_name(small, corpus):
    """In strict mode some of them are; otherwise this would prove nothing."""
    lenient = replace(small, strict=False, suffix=".other")
    strict = replace(small, suffix=".other")

    ours = [reason(data, lenient) for data in corpus]

    assert not [one for one in ours if "follow the end" in one or "is named" in one]
    assert [one for one in (reason(data, strict) for data in corpus) if "is named" in one]


def reason(data, image_request):
    """Return the reason for a refusal; empty if an image is made."""
    try:
        convert_image(BytesIO(data), BytesIO(), image_request)
    except RefusedError as err:
        return err.reason
    return ""
