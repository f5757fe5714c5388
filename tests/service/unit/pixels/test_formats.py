"""The formats that are read, and those that are written."""

import pytest
from PIL import Image, ImageChops, ImageStat

from tests.service.unit.pixels.samples import SAMPLES, encoded, film, picture

STILL = [
    name for name in SAMPLES if name not in {"apng", "moving.webp", "moving.gif", "moving.avif"}
]
OPAQUE = [name for name in STILL if not name.startswith(("alpha", "lossless"))]


@pytest.mark.parametrize("name", SAMPLES)
def test_every_kind_of_image_is_shrunk(name, variant):
    suffix, data = SAMPLES[name]

    made = variant(data, suffix=suffix, width=24, height=24).made

    assert (made.width, made.height) in {(24, 16), (4, 2)}


@pytest.mark.parametrize("name", OPAQUE)
@pytest.mark.parametrize("wanted_format", ["jpeg", "webp", "avif"])
def test_images_without_alpha_get_the_requested_format(name, wanted_format, variant):
    assert (
        variant(SAMPLES[name][1], format=wanted_format).made.media_type == f"image/{wanted_format}"
    )


@pytest.mark.parametrize("name", ["alpha.png", "lossless.webp", "alpha.avif", "alpha.heic"])
def test_alpha_is_kept_and_so_a_jpeg_becomes_a_png(name, variant):
    data = SAMPLES[name][1]

    assert variant(data).made.media_type == "image/png"
    for wanted_format in ("webp", "avif"):
        kept = variant(data, format=wanted_format).image
        assert kept.mode == "RGBA"
        assert kept.getchannel("A").getextrema()[0] < 30


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("size", [(48, 32), (1000, 700)])
def test_an_alpha_channel_that_hides_nothing_goes(mode, size, variant):
    image = picture("RGB", size).convert(mode)

    assert variant(encoded(image, "PNG")).made.media_type == "image/jpeg"


def test_the_first_picture_of_several_is_taken(variant):
    pictures = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
    for kind in ("TIFF", "MPO"):
        data = encoded(pictures[0], kind, save_all=True, append_images=pictures[1:])
        pictures = [one.copy() for one in pictures]  # otherwise Pillow confuses the files

        outcome = variant(data)

        assert outcome.made.frames == 1
        assert outcome.image.getpixel((20, 15))[0] > 200


def test_a_small_image_keeps_its_size(variant):
    assert variant(encoded(picture(), "PNG")).image.size == (48, 32)


@pytest.mark.parametrize("size", [(10_000, 1), (1, 10_000), (1, 1)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_a_line_of_pixels_keeps_one(size, kind, variant):
    made = variant(encoded(Image.new("RGB", size, "red"), kind)).made

    assert (made.width, made.height) == (min(size[0], 800), min(size[1], 600))


def test_quality_takes_effect(variant):
    data = encoded(picture("RGB", (400, 300)), "PNG")
    for wanted_format in ("jpeg", "webp", "avif"):
        low, high = (len(variant(data, format=wanted_format, quality=q).data) for q in (20, 95))
        assert low < high


def test_it_looks_as_before(variant):
    """This includes a JPEG that is decoded at an eighth of its size."""
    for kind in ("JPEG", "PNG", "WEBP", "AVIF", "HEIF", "TIFF", "BMP"):
        image = picture("RGB", (1200, 800))
        small = variant(encoded(image, kind), width=120, height=120).image

        difference = ImageChops.difference(small.convert("RGB"), image.resize((120, 80)))
        assert max(ImageStat.Stat(difference).mean) < 4, kind


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB"])
def test_a_jpeg_of_any_colours_is_decoded_at_reduced_size(mode, variant, monkeypatch):
    data = encoded(picture(mode, (1600, 1000)), "JPEG")
    decoded = []
    resize = Image.Image.resize
    monkeypatch.setattr(
        Image.Image, "resize", lambda im, *args: decoded.append(im.size) or resize(im, *args)
    )

    variant(data, width=200, height=200)

    assert decoded == [(200, 125)]


def test_a_box_beyond_what_the_encoder_can_write_is_no_reason_to_fail(variant):
    data = encoded(Image.new("RGB", (20_000, 10)), "PNG")

    assert variant(data, format="webp", width=30_000, height=30_000).image.width == 16_383


def test_pixels_that_are_hidden_do_not_shine_through(variant):
    """Transparent red next to opaque green: without premultiplying, the edge turns brown."""
    image = Image.new("RGBA", (400, 400), (255, 0, 0, 0))
    image.paste((0, 255, 0, 255), (0, 0, 201, 400))

    small = variant(encoded(image, "PNG"), width=40, height=40).image

    reds = [red for red, *_, alpha in small.get_flattened_data() if alpha > 20]
    assert max(reds) <= 8


def test_an_animation_is_a_webp_whatever_was_asked_for(variant):
    for kind in ("GIF", "PNG", "WEBP", "AVIF"):
        for wanted_format in ("jpeg", "webp", "avif"):
            made = variant(film(kind, duration=40), format=wanted_format).made
            assert (made.media_type, made.frames) == ("image/webp", 4)
