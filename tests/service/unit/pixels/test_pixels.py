"""The many ways to store a pixel."""

import struct
import zlib

import pytest
from PIL import Image

from tests.service.unit.pixels.samples import encoded, picture


def is_near(pixel, expected, by=4):
    pixel = pixel if isinstance(pixel, tuple) else (pixel,)
    expected = expected if isinstance(expected, tuple) else (expected,)
    return len(pixel) == len(expected) and all(
        abs(a - b) <= by for a, b in zip(pixel, expected, strict=True)
    )


def wide_grey(value, mode="I;16"):
    order = ">" if mode == "I;16B" else "<"
    return Image.frombytes(mode, (40, 30), struct.pack(f"{order}H", value) * 40 * 30)


@pytest.mark.parametrize(("value", "grey"), [(0, 0), (0x8000, 128), (0xC000, 191), (0xFFFF, 255)])
@pytest.mark.parametrize(
    ("mode", "kind", "options"),
    [
        ("I;16", "PNG", {}),
        ("I;16", "TIFF", {}),
        ("I;16B", "TIFF", {}),
        ("I;16", "TIFF", {"compression": "tiff_lzw"}),
    ],
)
def test_grey_of_16_bits_is_scaled_and_not_cut_off(mode, kind, options, value, grey, variant):
    image = variant(encoded(wide_grey(value, mode), kind, **options)).image

    assert image.mode == "L"
    assert is_near(image.getpixel((20, 15)), grey, by=1)


def test_grey_of_12_bits_is_scaled_by_these(variant):
    row = bytes([0x80, 0x08, 0x00] * 20)  # each three bytes hold two pixels of 0x800
    tags = [(256, 4, 1, 40), (257, 4, 1, 30), (258, 3, 1, 12), (259, 3, 1, 1), (262, 3, 1, 1)]
    tags += [(273, 4, 1, 8 + 2 + 9 * 12 + 4), (277, 3, 1, 1), (278, 4, 1, 30)]
    tags += [(279, 4, 1, len(row) * 30)]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    data = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + row * 30

    assert is_near(variant(data).image.getpixel((20, 15)), 128, by=1)


def test_the_clear_colour_of_a_png_of_16_bits_is_clear(variant):
    image = wide_grey(0x8000)
    image.paste(0x4000, (0, 0, 20, 30))

    made = variant(encoded(image, "PNG", transparency=0x4000)).image

    assert is_near(made.convert("LA").getpixel((30, 15)), (128, 255))
    assert made.convert("LA").getpixel((5, 15))[1] == 0


def test_colours_of_16_bits_keep_their_place(variant):
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    row = b"\0" + struct.pack(">6H", 0x8000, 0xFFFF, 0, 0x8000, 0xFFFF, 0)
    data = png_of(header, row)

    assert is_near(variant(data, format="webp").image.getpixel((0, 0)), (128, 255, 0), by=12)


def png_of(header, rows):
    """Return a PNG of these pixels, which Pillow cannot write."""

    def chunk(name, content):
        return (
            struct.pack(">I", len(content))
            + name
            + content
            + struct.pack(">I", zlib.crc32(name + content))
        )

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_modes_without_alpha_become_a_jpeg_of_the_same_colour(mode, variant):
    image = Image.new("RGB", (40, 30), "white").convert(mode)

    for kind in ("PNG", "TIFF", "BMP"):
        outcome = variant(encoded(image, kind))
        assert outcome.made.media_type == "image/jpeg", kind
        assert is_near(outcome.image.convert("RGB").getpixel((20, 15)), (255, 255, 255)), kind


@pytest.mark.parametrize("mode", ["1", "L"])
def test_grey_stays_grey(mode, variant):
    assert variant(encoded(picture(mode), "PNG")).image.mode == "L"


def test_black_and_white_is_shrunk_to_greys(variant):
    image = Image.frombytes("1", (80, 60), bytes([0b10101010]) * 600)

    assert is_near(
        variant(encoded(image, "PNG"), width=20, height=20).image.getpixel((10, 5)), 128, 40
    )


def test_a_palette_with_a_clear_colour_has_alpha(variant):
    image = Image.new("P", (40, 30))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.paste(1, (0, 0, 20, 30))
    for kind in ("PNG", "GIF"):
        made = variant(encoded(image, kind, transparency=1)).image.convert("RGBA")

        assert made.getpixel((5, 15))[3] == 0
        assert is_near(made.getpixel((30, 15)), (255, 0, 0, 255))


def test_a_palette_of_half_clear_colours_has_them(variant):
    image = Image.new("P", (40, 30), 1)
    image.putpalette([255, 0, 0, 0, 0, 255])

    made = variant(encoded(image, "PNG", transparency=bytes([255, 128]))).image

    assert is_near(made.convert("RGBA").getpixel((5, 15)), (0, 0, 255, 128))


def test_a_clear_colour_of_a_png_is_clear(variant):
    for mode, clear, other in (("RGB", (1, 2, 3), (200, 100, 50)), ("L", 7, 200)):
        image = Image.new(mode, (40, 30), other)
        image.paste(clear, (0, 0, 20, 30))

        made = variant(encoded(image, "PNG", transparency=clear)).image.convert("RGBA")

        assert made.getpixel((5, 15))[3] == 0
        assert made.getpixel((35, 15))[3] == 255


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_half_clear_pixels_stay_half_clear(mode, variant):
    image = Image.new("RGBA", (40, 30), (200, 200, 200, 128)).convert(mode)

    made = variant(encoded(image, "PNG"), width=20, height=20).image

    assert made.mode == mode
    assert is_near(made.convert("RGBA").getpixel((10, 7)), (200, 200, 200, 128))


def test_premultiplied_alpha_is_undone(variant):
    """This is TIFF's ExtraSamples 1; Pillow writes 2, so the test changes the tag to 1."""
    data = bytearray(encoded(Image.new("RGBA", (40, 30), (100, 50, 25, 128)), "TIFF"))
    at = data.index(struct.pack("<HHIH", 338, 3, 1, 2))
    data[at + 8] = 1

    made = variant(bytes(data)).image

    assert is_near(made.getpixel((20, 15)), (199, 100, 50, 128), by=3)


def test_cmyk_without_a_profile_has_its_colours(variant):
    for kind in ("JPEG", "TIFF"):
        red = Image.new("CMYK", (400, 300), (0, 255, 255, 0))
        assert is_near(
            variant(encoded(red, kind), width=40).image.getpixel((20, 15)), (255, 0, 0), 10
        )


def test_lab_has_its_colours(variant):
    red = Image.new("RGB", (40, 30), (200, 40, 40)).convert("LAB")

    assert is_near(variant(encoded(red, "TIFF")).image.getpixel((20, 15)), (200, 40, 40), 10)


def test_ycbcr_has_its_colours(variant):
    red = Image.new("RGB", (40, 30), (200, 40, 40)).convert("YCbCr")

    assert is_near(variant(encoded(red, "TIFF")).image.getpixel((20, 15)), (200, 40, 40), 10)


@pytest.mark.parametrize("mode", ["F", "I"])
def test_32_bits_are_refused_because_white_is_not_defined(mode, refusal):
    data = encoded(Image.new(mode, (40, 30)), "TIFF")

    assert refusal(data) == f"its pixels are signed or 32-bit numbers (mode {mode})"
