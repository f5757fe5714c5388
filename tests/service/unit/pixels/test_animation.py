"""Animations stay animations, with the same pace and number of loops."""

import struct
import zlib

import pytest
from PIL import Image, ImageSequence

from tests.service.unit.pixels.samples import encoded, film, picture

COLOURS = ["red", "lime", "blue", "white"]


def pace(image):
    """Return the milliseconds of each frame and the colour in its middle."""
    found = []
    for frame in ImageSequence.Iterator(image):
        frame.load()
        middle = frame.convert("RGB").getpixel((frame.width // 2, frame.height // 2))
        found.append((frame.info["duration"], middle))
    return found


def coloured(kind, **options):
    frames = [Image.new("RGB", (400, 300), colour) for colour in COLOURS]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "AVIF"])
def test_each_frame_keeps_its_duration_and_its_place(kind, variant):
    image = variant(coloured(kind, duration=[40, 200, 1000, 70]), width=40).image

    shown = pace(image)
    assert [duration for duration, _ in shown] == [40, 200, 1000, 70]
    for (_, pixel), expected in zip(
        shown, [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255,) * 3], strict=True
    ):
        assert max(abs(a - b) for a, b in zip(pixel, expected, strict=True)) < 12


@pytest.mark.parametrize(
    ("kind", "options", "loops"),
    [
        ("GIF", {"loop": 0}, 0),
        ("GIF", {"loop": 3}, 4),  # GIF counts repeats after the first showing
        ("GIF", {}, 1),
        ("PNG", {"loop": 0}, 0),
        ("PNG", {"loop": 3}, 3),
        ("PNG", {"loop": 1 << 20}, 65_535),
        ("WEBP", {"loop": 0}, 0),
        ("WEBP", {"loop": 5}, 5),
        ("AVIF", {}, 0),
    ],
)
def test_it_is_shown_as_often_as_before(kind, options, loops, variant):
    assert variant(film(kind, duration=40, **options)).image.info["loop"] == loops


def test_a_frame_may_last_longer_than_webp_can_say(variant):
    data = bytearray(film("PNG", 3, duration=40))
    at = data.index(b"fcTL") + 4 + 20
    data[at : at + 4] = struct.pack(">HH", 65_535, 1)  # 18 hours
    chunk = bytes(data[at - 24 : at + 6])
    data[at + 6 : at + 10] = struct.pack(">I", zlib.crc32(chunk))

    assert pace(variant(bytes(data)).image)[0][0] == (1 << 24) - 1


def test_frames_without_a_duration_are_kept(variant):
    assert variant(film("GIF")).made.frames == 4


def test_clear_pixels_of_an_animation_stay_clear(variant):
    frames = [Image.new("RGBA", (40, 30), (255, 0, 0, alpha)) for alpha in (0, 255)]
    for kind in ("GIF", "PNG", "WEBP"):
        options = {"disposal": 2} if kind == "GIF" else {}
        data = encoded(
            frames[0], kind, save_all=True, append_images=frames[1:], duration=40, **options
        )

        image = variant(data).image

        alphas = [
            frame.convert("RGBA").getpixel((20, 15))[3] for frame in ImageSequence.Iterator(image)
        ]
        assert alphas == [0, 255], kind


def test_frames_outside_the_picture_of_a_gif_are_cut_off(variant):
    """The second frame extends beyond the first, so Pillow reports a larger picture."""
    data = bytearray(film("GIF", 3, duration=40))
    second = data.index(b",", data.index(b",") + 1)
    assert struct.unpack_from("<HHHH", data, second + 1) == (0, 0, 48, 32)
    struct.pack_into("<HH", data, second + 1, 24, 16)

    outcome = variant(bytes(data))

    assert outcome.image.size == (48, 32)
    assert outcome.made.frames == 3


def test_the_still_picture_of_an_animated_png_is_no_frame(variant):
    frames = [Image.new("RGB", (40, 30), colour) for colour in COLOURS]
    data = encoded(
        frames[0], "PNG", save_all=True, append_images=frames[1:], default_image=True, duration=40
    )

    image = variant(data).image

    assert image.n_frames == 3
    assert pace(image)[0][1][1] > 200


def test_an_animation_of_one_frame_is_a_picture(variant):
    for kind in ("GIF", "PNG", "WEBP"):
        data = encoded(picture(), kind, save_all=True)
        assert variant(data).made.media_type == "image/jpeg"
