"""Ordinary photos with additional data: the resulting image is harmless."""

import pytest

from tests.service.unit.pixels.samples import SAMPLES, encoded, picture
from tests.service.unit.pixels.test_refusals import grow, hidden, zipped

JPEG = SAMPLES["jpeg"][1]


@pytest.fixture
def notes(variant):
    """`notes(data, suffix=".jpg")`: the notes about a file from which an image is made."""

    def note(data, **values):
        return variant(data, strict=False, **values).made.notes

    return note


@pytest.mark.parametrize(
    ("camera", "tail"),
    [
        ("Minolta DiMAGE", b"MRM" + bytes(range(256)) * 40),
        ("Panasonic LX7", b"\xff" * 4096),
        ("Olympus D320L", b"x"),
        ("cut off further picture", JPEG[:-2]),
        ("cut off film", b"\0\0\1\0ftypmp42isom"),
        ("a trailer that has lost its beginning", b"SEFT"),
    ],
)
@pytest.mark.parametrize("progressive", [False, True])
def test_bytes_behind_the_end_of_a_photo_are_noted(camera, tail, progressive, notes, refusal):
    data = encoded(picture(), "JPEG", progressive=progressive) + tail

    (note,) = notes(data)

    assert "follow the end of the JPEG" in note or "truncated" in note
    assert refusal(data) == note  # in strict mode


@pytest.mark.parametrize("name", [name for name in SAMPLES if "tiff" not in name])
def test_a_line_break_behind_any_image_is_noted(name, notes):
    (note,) = notes(SAMPLES[name][1] + b"\n")

    assert note.startswith("1 bytes follow the end of the ")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg?w=100", ".tmp", ".PNG"])
def test_a_name_of_another_format_is_noted(suffix, notes):
    (note,) = notes(SAMPLES["lossy.webp"][1], suffix=suffix)

    assert "and is a WebP" in note


def test_of_an_ordinary_image_nothing_is_noted(notes):
    assert notes(JPEG, suffix=".jpg") == ()


def test_a_script_beyond_a_browsers_reach_is_ignored(notes, refusal):
    far = encoded(picture(), "JPEG", comment=b"x" * 2000 + b"<script>")

    assert notes(far) == ()
    assert refusal(hidden(b"<script>"), strict=False).startswith("it holds a script as well")
    assert refusal(far).startswith("it holds a script as well")  # in strict mode


@pytest.mark.parametrize("data", [zipped(JPEG), JPEG[:-100], JPEG[:40], b"%PDF-1.7\n"])
def test_incomplete_images_and_other_files_are_still_refused(data, refusal):
    assert refusal(data, strict=False)


def test_a_jpeg_may_have_more_pixels_than_others(refusal, variant):
    limits = {"max_pixels": 1_000, "max_jpeg_pixels": 48 * 32, "strict": False}

    assert variant(JPEG, **limits).made
    assert refusal(SAMPLES["png"][1], **limits) == "it has 1536 pixels; at most 1000 are allowed"
    large = bytearray(JPEG)
    grow("JPEG", large)
    assert refusal(bytes(large), **limits) == ("it has 100000000 pixels; at most 1536 are allowed")
