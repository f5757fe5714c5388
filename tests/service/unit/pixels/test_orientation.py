"""The orientation of the camera."""

import pytest
from PIL import Image
from PIL.ExifTags import Base

from tests.service.unit.pixels.samples import encoded

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255,) * 3}

# The corners of the upright picture in the stored image, clockwise from the top left. EXIF 2.3
# defines each orientation by the place of the first stored row and column.
STORED = {
    1: ("red", "green", "blue", "white"),
    2: ("green", "red", "white", "blue"),
    3: ("blue", "white", "red", "green"),
    4: ("white", "blue", "green", "red"),
    5: ("red", "white", "blue", "green"),
    6: ("green", "blue", "white", "red"),
    7: ("blue", "green", "red", "white"),
    8: ("white", "red", "green", "blue"),
}


def stored(orientation, size=(400, 200)):
    """Return the stored image of a picture that has this size and these corners when upright."""
    width, height = size if orientation < 5 else size[::-1]
    image = Image.new("RGB", (width, height))
    boxes = [(0, 0), (width // 2, 0), (width // 2, height // 2), (0, height // 2)]
    for colour, (x, y) in zip(STORED[orientation], boxes, strict=True):
        image.paste(COLOURS[colour], (x, y, x + width // 2, y + height // 2))
    return image


def tagged(value):
    exif = Image.Exif()
    exif[Base.Orientation] = value
    return exif


def corners(image):
    w, h = image.size
    places = [
        (w // 4, h // 4),
        (3 * w // 4, h // 4),
        (3 * w // 4, 3 * h // 4),
        (w // 4, 3 * h // 4),
    ]
    pixels = [image.convert("RGB").getpixel(at) for at in places]
    return [
        min(
            COLOURS,
            key=lambda name: sum(abs(a - b) for a, b in zip(COLOURS[name], pixel, strict=True)),
        )
        for pixel in pixels
    ]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("PNG", {}),
        ("WEBP", {}),
        ("AVIF", {}),
        ("HEIF", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
    ],
)
def test_a_picture_is_set_upright_and_then_fits(kind, options, orientation, variant):
    exif = tagged(orientation).tobytes()  # the HEIC encoder turns it into a property
    data = encoded(stored(orientation), kind, exif=exif, **options)

    image = variant(data, width=100, height=60).image

    assert image.size == (100, 50)
    assert corners(image) == ["red", "green", "blue", "white"]


def test_the_box_is_turned_before_a_jpeg_is_decoded_at_reduced_size(variant, monkeypatch):
    """Otherwise it is decoded far too small and enlarged, or far too large."""
    decoded = []
    resize = Image.Image.resize
    monkeypatch.setattr(
        Image.Image, "resize", lambda im, *args: decoded.append(im.size) or resize(im, *args)
    )

    variant(encoded(stored(6, (1600, 800)), "JPEG", exif=tagged(6)), width=100, height=100)

    assert decoded == [(100, 200)]


@pytest.mark.parametrize("value", [0, 9, 4711])
def test_an_orientation_that_makes_no_sense_is_ignored(value, variant):
    data = encoded(stored(1), "JPEG", exif=tagged(value))

    assert corners(variant(data).image) == ["red", "green", "blue", "white"]


@pytest.mark.parametrize("exif", [b"II*\0\xff\xff\xff\x7f", b"no TIFF at all"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "HEIF"])
def test_exif_that_cannot_be_read_is_ignored(kind, exif, variant):
    data = encoded(stored(1), kind, exif=b"Exif\0\0" + exif)

    assert corners(variant(data).image) == ["red", "green", "blue", "white"]


def test_an_orientation_behind_the_pixels_of_a_png_counts(variant):
    """PNG allows that, and some programs do it."""
    data = encoded(stored(3), "PNG", exif=tagged(3))
    at = data.index(b"eXIf") - 4
    end = at + 12 + int.from_bytes(data[at : at + 4])
    tail = data.index(b"IEND") - 4
    moved = data[:at] + data[end:tail] + data[at:end] + data[tail:]

    assert corners(variant(moved).image) == ["red", "green", "blue", "white"]


def test_an_animation_is_set_upright(variant):
    frames = [stored(6), stored(6).point(lambda value: value // 2)]
    data = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], exif=tagged(6))

    image = variant(data, width=100, height=100).image

    assert image.size == (100, 50)
    assert corners(image) == ["red", "green", "blue", "white"]
