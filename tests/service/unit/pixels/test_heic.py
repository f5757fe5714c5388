"""What is special about HEIC, the photos of iPhones."""

import subprocess
import sys
from io import BytesIO

import pytest
from PIL import Image
from pillow_heif import encode

from shop.pixels import RefusedError
from shop.pixels.conversion import convert_image
from tests.service.unit.pixels.samples import SAMPLES, encoded, picture
from tests.service.unit.pixels.test_ends import box
from tests.service.unit.pixels.test_orientation import COLOURS, corners, stored, tagged

HEIC = SAMPLES["heic"][1]
LACKING = "it is a HEIC, which this installation cannot read: pip install 'pillow-heif>=1.4'"


@pytest.fixture
def _without_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)


@pytest.mark.usefixtures("_without_extra")
def test_without_the_extra_the_reason_names_it(refusal):
    assert refusal(HEIC) == LACKING


@pytest.mark.usefixtures("_without_extra")
def test_without_the_extra_heic_is_not_among_the_formats_that_are_read(refusal):
    known = "AVIF, BMP, GIF, JPEG, PNG, TIFF, WebP"

    assert refusal(b"%PDF-1.7\n") == f"it is a PDF, not one of {known}"


def test_the_decoder_is_loaded_for_the_first_heic_and_for_nothing_else(tmp_path):
    files = [tmp_path / name for name in ("jpeg", "avif", "heic")]
    for file in files:
        file.write_bytes(SAMPLES[file.name][1])
    code = (
        "import sys\n"
        "from io import BytesIO\n"
        "from shop.pixels import ImageRequest\n"
        "from shop.pixels.conversion import convert_image\n"
        "for name in sys.argv[1:]:\n"
        "    with open(name, 'rb') as file:\n"
        "        wanted = ImageRequest(9, 9, 85, 'jpeg', '', 10**6, 10**6, 10**6, 9)\n"
        "        convert_image(file, BytesIO(), wanted)\n"
        "    print('_pillow_heif' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, files)],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.split() == ["False", "False", "True"]


# Films


def branded(brand, *boxes):
    """Return a file of boxes with this first brand."""
    return box(b"ftyp", brand + bytes(4) + brand + b"heic") + b"".join(boxes)


@pytest.mark.parametrize("brand", [b"hevc", b"hevx", b"msf1"])
def test_a_film_without_a_still_picture_is_refused(brand, refusal):
    film = branded(brand, box(b"moov", bytes(100)), box(b"mdat", b"film" * 9))

    assert refusal(film) == "it is a HEIC sequence without a still picture; only stills are read"


def test_of_several_pictures_the_primary_one_is_taken(variant):
    pictures = [Image.new("RGB", (64, 64), colour) for colour in COLOURS.values()]
    for primary, colour in enumerate(COLOURS):
        data = encoded(
            pictures[0],
            "HEIF",
            save_all=True,
            append_images=pictures[1:],
            primary_index=primary,
        )

        outcome = variant(data)

        assert outcome.made.frames == 1
        assert corners(outcome.image) == [colour] * 4


def test_too_many_pictures(refusal, variant):
    data = SAMPLES["several.heic"][1]

    assert variant(data, max_frames=3).made
    assert refusal(data, max_frames=2) == "it has 3 pictures; at most 2 are allowed"


@pytest.mark.parametrize(("mode", "pixel"), [("RGB;16", (250, 120, 10)), ("I;16", (120,))])
def test_more_than_8_bits_as_cameras_write_them(mode, pixel, variant):
    values = b"".join((value * 257).to_bytes(2, "little") for value in pixel)
    file = BytesIO()
    encode(mode, (64, 64), values * 64 * 64, file, quality=-1, chroma=444)

    image = variant(file.getvalue()).image

    found = image.convert("RGB").getpixel((32, 32))
    expected = pixel if len(pixel) == 3 else pixel * 3
    assert all(abs(a - b) < 4 for a, b in zip(found, expected, strict=True))


# Orientation


XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>'


@pytest.mark.parametrize("before", [b"", b"<x:xmpmeta/>\0"])
def test_xmp_does_not_rotate_it_again(before, variant):
    """The decoder rotates a HEIC by its own properties; other orientations are copies of these."""
    data = encoded(stored(1), "HEIF", xmp=before + XMP % 1)
    assert XMP % 1 in data

    image = variant(data.replace(XMP % 1, XMP % 6), width=100, height=100).image

    assert image.size == (100, 50)
    assert corners(image) == ["red", "green", "blue", "white"]


def test_exif_does_not_rotate_it_again(variant):
    data = encoded(stored(1), "HEIF", exif=tagged(6))
    assert tagged(6).tobytes() in data
    assert b"irot" not in data

    assert corners(variant(data).image) == ["red", "green", "blue", "white"]


# Broken files


@pytest.mark.parametrize("claimed", [0, 8, 63, 65, 600])
def test_a_picture_of_another_size_than_its_header_says_is_refused(claimed, refusal):
    """Before 1.4, pillow-heif decodes larger ones at any cost; hence the minimum version."""
    data = encoded(Image.new("RGB", (64, 64), "red"), "HEIF")
    sizes = b"ispe" + bytes(4)
    at = data.index(sizes) + len(sizes)

    lying = data[:at] + claimed.to_bytes(4) * 2 + data[at + 8 :]

    assert refusal(lying).startswith("it cannot be decoded: ")


def test_the_same_file_gives_the_same_image_whatever_came_before(image_request):
    def convert(data):
        target = BytesIO()
        convert_image(BytesIO(data), target, image_request(width=40, height=40))
        return target.getvalue()

    before = {name: convert(data) for name, (_, data) in SAMPLES.items() if "heic" in name}
    with pytest.raises(RefusedError):
        convert(HEIC[:-1])

    again = {name: convert(SAMPLES[name][1]) for name in reversed(before)}

    assert again == before


def test_the_picture_is_used_and_not_its_thumbnail(variant):
    """The thumbnail may show something else, or be coarse."""
    image = picture("RGB", (512, 512))
    plain, with_thumbnail = (
        variant(encoded(image, "HEIF", **options), width=64, height=64).data
        for options in ({}, {"thumbnails": [128]})
    )

    assert with_thumbnail == plain
