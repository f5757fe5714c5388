"""Colours end up in sRGB, whatever the image's profile."""

import pytest
from PIL import Image, ImageCms

from shop.pixels import colours
from tests.service.unit.pixels.profiles import dull_printer, light_grey, srgb, swapped
from tests.service.unit.pixels.samples import encoded, picture

RED = Image.new("RGB", (400, 300), (250, 10, 10))


@pytest.fixture(autouse=True)
def _forget_transforms():
    colours._transform.cache_clear()


@pytest.fixture
def applied(monkeypatch):
    """The sizes of the images to which a profile was applied."""
    sizes = []
    apply = ImageCms.ImageCmsTransform.apply
    monkeypatch.setattr(
        ImageCms.ImageCmsTransform,
        "apply",
        lambda self, im, *rest: sizes.append(im.size) or apply(self, im, *rest),
    )
    return sizes


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "HEIF", "TIFF"])
def test_a_profile_is_applied_once_the_image_is_small(kind, variant, applied):
    image = variant(encoded(RED, kind, icc_profile=swapped()), width=40).image

    red, green, blue = image.getpixel((20, 15))
    assert green > 200
    assert max(red, blue) < 60
    assert applied[-1] == (40, 30)


def test_alpha_stays_as_it_is(variant):
    image = Image.new("RGBA", (40, 30), (250, 10, 10, 100))

    pixel = variant(encoded(image, "PNG", icc_profile=swapped())).image.getpixel((20, 15))

    assert pixel[1] > 200
    assert pixel[3] == 100


def test_an_animation_has_its_profile_applied(variant):
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
    data = encoded(
        frames[0], "WEBP", save_all=True, append_images=frames[1:], icc_profile=swapped()
    )

    red, green, _ = variant(data).image.convert("RGB").getpixel((20, 15))

    assert green > 200
    assert red < 60


def test_grey_has_its_profile_applied_and_stays_grey(variant):
    for mode in ("L", "LA"):
        image = Image.new(mode, (40, 30), 64 if mode == "L" else (64, 100))

        made = variant(encoded(image, "PNG", icc_profile=light_grey())).image

        assert made.mode == mode
        assert abs(made.getchannel("L").getpixel((20, 15)) - 188) < 8  # half of the light


def test_an_image_in_srgb_is_left_alone(variant, applied):
    """Without this check each photo costs 10 ms more, and some levels are off by one."""
    image = picture("RGB", (200, 100))

    with_profile = variant(encoded(image, "PNG", icc_profile=srgb()))
    without = variant(encoded(image, "PNG"))

    assert with_profile.data == without.data
    assert (200, 100) not in applied


def test_a_profile_is_read_once(variant):
    data = encoded(picture(), "PNG", icc_profile=swapped())

    for _ in range(3):
        variant(data)

    assert colours._transform.cache_info().misses == 1


@pytest.mark.parametrize(
    "profile",
    [
        b"nonsense",
        bytes(200),
        swapped()[:300],
        swapped() + bytes(5 << 20),
        swapped().replace(b"RGB ", b"CMYK", 1),
    ],
)
def test_a_profile_that_is_broken_or_unfitting_or_far_too_long_is_ignored(profile, variant):
    made = variant(encoded(RED, "TIFF", icc_profile=profile)).image

    assert made.getpixel((20, 15))[0] > 240


def test_a_profile_of_colours_is_ignored_for_grey_and_for_inks(variant):
    grey = encoded(Image.new("L", (40, 30), 64), "JPEG", icc_profile=swapped())
    inks = encoded(Image.new("CMYK", (40, 30), (0, 255, 255, 0)), "JPEG", icc_profile=swapped())

    assert abs(variant(grey).image.getpixel((20, 15)) - 64) < 4
    assert variant(inks).image.getpixel((20, 15))[0] > 240


def test_inks_with_a_profile_have_the_colours_of_that(variant):
    """Without the profile cyan is (0, 255, 255), which no printer can produce."""
    cyan = Image.new("CMYK", (400, 300), (255, 0, 0, 0))

    for kind in ("JPEG", "TIFF"):
        data = encoded(cyan, kind, icc_profile=dull_printer())
        red, green, blue = variant(data, width=40).image.getpixel((20, 15))
        assert 60 < red < green < blue < 200
