"""Refused files: each reason says what is wrong, and by how much."""

import io
import struct
import zipfile
import zlib

import pytest
from PIL import Image

from shop.pixels.conversion import convert_image
from tests.service.unit.pixels.samples import SAMPLES, encoded, film, picture

PNG = SAMPLES["png"][1]
JPEG = SAMPLES["jpeg"][1]


def test_an_empty_file(refusal):
    assert refusal(b"") == "it is empty (0 bytes)"


def test_a_file_with_too_many_bytes(refusal, variant):
    assert variant(PNG, max_bytes=len(PNG)).made
    assert (
        refusal(PNG, max_bytes=len(PNG) - 1)
        == f"it has {len(PNG)} bytes; at most {len(PNG) - 1} are allowed"
    )


@pytest.mark.parametrize("name", [name for name in SAMPLES if name != "rle.bmp"])
def test_too_many_pixels(name, refusal, variant):
    data = SAMPLES[name][1]

    assert variant(data, max_pixels=48 * 32).made
    for limit in (48 * 32 - 1, 48 * 32 - 2, 100):
        assert refusal(data, max_pixels=limit) == f"it has 1536 pixels; at most {limit} are allowed"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "AVIF", "HEIF", "BMP"])
def test_a_bomb_is_seen_before_anything_is_decoded(kind, refusal, monkeypatch):
    """A few kilobytes claim 100 million pixels, and none of them is ever in memory."""
    if kind == "BMP":
        data = bytearray(SAMPLES["rle.bmp"][1])
    else:
        size = (64, 64) if kind == "HEIF" else (48, 32)  # HEIF crops other sizes from this one
        data = bytearray(encoded(Image.new("L", size), kind))
    grow(kind, data)
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("it was decoded"))

    assert refusal(bytes(data)) == "it has 100000000 pixels; at most 40000000 are allowed"


def test_a_gif_whose_second_frame_is_a_bomb(refusal):
    """Pillow enlarges the picture for it after the header was checked."""
    data = bytearray(film("GIF", 3, duration=40))
    second = data.index(b",", data.index(b",") + 1)
    struct.pack_into("<HH", data, second + 5, 10_000, 10_000)

    assert refusal(bytes(data)) == "it has 100000000 pixels; at most 40000000 are allowed"


def grow(kind, data):
    """Replace the header's size of 48 by 32 with 10 000 by 10 000."""
    places = {
        "JPEG": (">HH", (32, 48), (10_000, 10_000)),
        "PNG": (">II", (48, 32), (10_000, 10_000)),
        "GIF": ("<HH", (48, 32), (10_000, 10_000)),
        "AVIF": (">II", (48, 32), (10_000, 10_000)),
        "HEIF": (">II", (64, 64), (10_000, 10_000)),
        "BMP": ("<II", (4, 2), (10_000, 10_000)),
        "WEBP": ("<HH", (48, 32), (10_000, 10_000)),
    }
    if kind == "TIFF":
        for tag in (256, 257):
            at = data.index(struct.pack("<HHI", tag, 4, 1))
            struct.pack_into("<I", data, at + 8, 10_000)
        return
    form, before, after = places[kind]
    at = data.index(struct.pack(form, *before))
    struct.pack_into(form, data, at, *after)
    if kind == "PNG":
        struct.pack_into(">I", data, 29, zlib.crc32(data[12:29]))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "AVIF"])
def test_too_many_frames(kind, refusal, variant):
    data = film(kind, 6, duration=40)

    assert variant(data, max_frames=6).made.frames
    assert refusal(data, max_frames=5) == "it has 6 frames; at most 5 are allowed"


def test_too_many_pages(refusal, variant):
    data = film("TIFF", 6)

    assert variant(data, max_frames=6).made
    assert refusal(data, max_frames=5) == "it has 6 pages; at most 5 are allowed"


@pytest.mark.parametrize(
    ("data", "called"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- drawn -->\n<svg/>", "an SVG"),
        (b"<!DOCTYPE svg PUBLIC '-//W3C//DTD SVG 1.1//EN' ''>\n<svg >", "an SVG"),
        ("<?xml version='1.0'?><svg>".encode("utf-16"), "an SVG"),
        (b"<!doctype html><html><svg></svg>", "an HTML page"),
        (b"\n<HTML><body>", "an HTML page"),
        (b"<?xml version='1.0'?><note/>", "an XML document"),
        (b"%PDF-1.7\n", "a PDF"),
        (b"PK\x03\x04\x14\0", "a ZIP file"),
        (b"\x1f\x8b\x08\0", "a gzip file"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isomavc1", "a video"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "a PostScript file"),
        (b"8BPS\0\1", "a Photoshop file"),
        (b"\0\0\1\0\1\0", "an icon"),
        (b"\0\0\0\x0cjP  \r\n", "a JPEG 2000"),
        ("Grüße".encode(), "a text"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "no image that is known here"),
        (b"\0\1\2\3", "no image that is known here"),
    ],
)
def test_a_file_that_is_no_image_is_named_by_its_type(data, called, refusal):
    known = "AVIF, BMP, GIF, HEIC, JPEG, PNG, TIFF, WebP"
    assert refusal(data) == f"it is {called}, not one of {known}"


@pytest.mark.parametrize(
    ("kind", "mode"), [("ICO", "RGB"), ("PPM", "RGB"), ("TGA", "RGB"), ("PCX", "RGB"), ("SGI", "L")]
)
def test_other_formats_of_pillow_are_refused(kind, mode, refusal):
    assert "not one of" in refusal(encoded(picture(mode), kind))


@pytest.mark.parametrize(
    ("name", "suffix", "reason"),
    [
        ("jpeg", ".png", "it is named .png and is a JPEG"),
        ("png", ".JPG", "it is named .jpg and is a PNG"),
        ("avif", ".webp", "it is named .webp and is an AVIF"),
        ("moving.webp", ".gif", "it is named .gif and is a WebP"),
        ("heic", ".jpg", "it is named .jpg and is a HEIC"),
        ("jpeg", ".heic", "it is named .heic and is a JPEG"),
        ("jpeg", ".exe", "it is named '.exe' and is a JPEG, whose name ends in"),
        ("bmp", ".svg", "it is named '.svg' and is a BMP, whose name ends in .bmp, .dib"),
    ],
)
def test_a_name_for_another_format(name, suffix, reason, refusal):
    assert refusal(SAMPLES[name][1], suffix=suffix).startswith(reason)


@pytest.mark.parametrize(
    ("name", "suffixes"),
    [
        ("jpeg", "jpg jpeg jpe jfif JPG JPEG"),
        ("mpo", "jpg mpo"),
        ("png", "png PNG apng"),
        ("apng", "png apng"),
        ("raw.tiff", "tif tiff"),
        ("avif", "avif"),
        ("moving.avif", "avif avifs"),
        ("heic", "heic heif hif HEIC"),
        ("bmp", "bmp dib"),
        ("gif", "gif"),
        ("lossy.webp", "webp"),
    ],
)
def test_names_that_fit(name, suffixes, variant):
    for suffix in ["", *suffixes.split()]:
        assert variant(SAMPLES[name][1], suffix=suffix and f".{suffix}").made


# Files that are an image and something else as well


def hidden(code):
    return encoded(picture(), "JPEG", comment=b"x" * 1000 + code)


@pytest.mark.parametrize(
    "code", [b"<?php system()", b"<?PHP\n", b"<script>", b"<SCRIPT src=", b"<script\tsrc="]
)
def test_a_script_anywhere_in_an_image(code, refusal):
    assert refusal(hidden(code)).startswith("it holds a script as well: <")


@pytest.mark.parametrize("code", [b"<?phpx", b"<scripts>", b"<?xml ", b"< script>"])
def test_text_that_only_resembles_a_script_is_accepted(code, variant):
    assert variant(hidden(code)).made


def test_an_image_that_is_a_pdf_as_well(refusal, variant):
    data = encoded(picture(), "JPEG", comment=b"%PDF-1.4 ")
    far = encoded(picture(), "JPEG", comment=b"x" * 1100 + b"%PDF-1.4 ")

    assert refusal(data) == f"it is a PDF as well, which begins at byte {data.index(b'%PDF')}"
    assert variant(far).made  # where no reader looks


def zipped(before=b"", name="run.jsp"):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, "<% %>")
    return before + file.getvalue()


@pytest.mark.parametrize(
    "name", ["jpeg", "png", "gif", "lossy.webp", "raw.tiff", "bmp", "avif", "heic"]
)
def test_an_image_that_is_a_zip_file_as_well(name, refusal):
    data = SAMPLES[name][1] + zipped()

    assert refusal(data) == "it is a ZIP file as well"


def test_a_zip_file_within_an_image(refusal):
    """Nothing follows the image's end, but programs that search the last 64 KiB can unpack it."""
    assert refusal(encoded(picture(), "JPEG", comment=zipped())) == "it is a ZIP file as well"


@pytest.mark.parametrize(
    ("old", "new"),
    [("é".encode(), b"\xff\xff"), (b"PK\1\2\x14\3\x14\0", b"PK\1\2\x14\3\x63\0")],
    ids=["a name in no encoding", "version 9.9"],
)
def test_a_zip_file_that_python_cannot_read(old, new, refusal):
    """Other programs can unpack it, and `zipfile` raises an error other than `BadZipFile`."""
    data = zipped(name="é.jsp").replace(old, new)
    assert new in data

    assert refusal(SAMPLES["jpeg"][1] + data) == "it is a ZIP file as well"


def test_the_four_last_bytes_of_a_zip_file_alone_are_ignored(variant):
    """About one photo in 65 000 contains them by chance."""
    assert variant(encoded(picture(), "JPEG", comment=b"PK\5\6" + b"\xff" * 40)).made


@pytest.mark.parametrize("name", [name for name in SAMPLES if "tiff" not in name])
@pytest.mark.parametrize("more", [b"x", b"\0\0more", b"<html>", b"MZ\x90\0" + bytes(100)])
def test_anything_behind_an_image(name, more, refusal):
    data = SAMPLES[name][1]

    reason = refusal(data + more)

    if reason.startswith("it is truncated"):  # in AVIF this looks like one more box
        assert name.endswith(("avif", "heic"))
    else:
        assert f"{len(more.lstrip(bytes(1)))} bytes follow the end of the" in reason


# Broken files


@pytest.mark.parametrize("name", [name for name in SAMPLES if name != "bmp"])
def test_a_file_that_lost_its_end(name, refusal):
    """Even one missing byte counts, although most decoders never check."""
    data = SAMPLES[name][1]
    if "tiff" in name:  # Pillow writes its directory last
        lengths = [8, 20, len(data) // 2]
    else:
        lengths = [len(data) - 1, len(data) - 2, len(data) // 2]

    for length in lengths:
        reason = refusal(data[:length])
        broken = ("it is truncated", "it cannot be decoded")
        assert reason.startswith(broken if "tiff" in name else "it is truncated"), (length, reason)


@pytest.mark.parametrize(
    "compression", ["tiff_lzw", "tiff_adobe_deflate", "group4", "packbits", "jpeg"]
)
def test_a_tiff_without_its_last_strips(compression, refusal):
    """Some decoders silently make them white."""
    mode = "1" if compression == "group4" else "RGB"
    data = encoded(picture(mode, (480, 320)), "TIFF", compression=compression)
    moved = pixels_last(data)

    assert refusal(moved[:-20]).startswith("it is truncated")


def pixels_last(data):
    """Return the same TIFF with its pixels copied to its end, where Pillow puts the directory."""
    data = bytearray(data)
    (directory,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, directory)
    at = {
        struct.unpack_from("<H", data, p)[0]: p
        for p in range(directory + 2, directory + 2 + 12 * count, 12)
    }
    values = {}
    for tag in (273, 279):
        _, kind, number, value = struct.unpack_from("<HHII", data, at[tag])
        form = {3: "H", 4: "I"}[kind]
        place = at[tag] + 8 if number == 1 else value
        values[tag] = (form, number, place)
    form, number, place = values[273]
    offsets = struct.unpack_from(f"<{number}{form}", data, place)
    lengths = struct.unpack_from("<{1}{0}".format(*values[279][:2]), data, values[279][2])
    moved = []
    for offset, length in zip(offsets, lengths, strict=True):
        moved.append(len(data))
        data += data[offset : offset + length]
    struct.pack_into(f"<{number}{form}", data, place, *moved)
    return bytes(data)


def test_a_tiff_whose_pages_go_round_in_a_circle(refusal):
    data = bytearray(SAMPLES["pages.tiff"][1])
    (first,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, first)
    struct.pack_into("<I", data, first + 2 + 12 * count, first)

    assert "leads back to an earlier one" in refusal(bytes(data))


def test_pixels_that_are_nonsense(refusal):
    data = bytearray(PNG)
    data[60:80] = b"\xff" * 20

    assert refusal(bytes(data)).startswith("it cannot be decoded: ")


def test_a_reason_never_shows_where_something_lies_in_memory(refusal):
    data = bytearray(PNG)
    data[8:24] = b"\xff" * 16

    for reason in (refusal(b"BM" + bytes(100)), refusal(b"II*\0\x08\0\0\0\0\0\0\0\0\0\0\0")):
        assert "0x" not in reason


@pytest.mark.parametrize(
    "message",
    [
        "out of memory when reading image file",
        "Memory allocation error: Unspecified: Allocating 146313231 bytes failed",
    ],
)
def test_a_lack_of_memory_is_distinguished_from_nonsense(message, image_request, monkeypatch):
    """Decoders report it only in words; the parent process knows how much memory there was."""
    monkeypatch.setattr(Image.Image, "resize", lambda *_: (_ for _ in ()).throw(OSError(message)))

    with pytest.raises(MemoryError, match=message):
        convert_image(io.BytesIO(PNG), io.BytesIO(), image_request())


@pytest.mark.parametrize(
    "message",
    [
        "Memory allocation error: Invalid image size: zero width or height",
        "Memory allocation error: Security limit exceeded: Image size 9x9 exceeds the maximum",
    ],
)
def test_other_memory_errors_of_libheif_mean_a_broken_file(message, refusal, monkeypatch):
    monkeypatch.setattr(
        Image.Image, "resize", lambda *_: (_ for _ in ()).throw(RuntimeError(message))
    )

    assert refusal(PNG) == f"it cannot be decoded: {message}"


def test_a_reason_can_be_stored(refusal, monkeypatch):
    """A reason may quote the file, and PostgreSQL refuses zero bytes in a text."""
    quoting = ValueError("no such thing: \0\ud800\n" + "x" * 1000)
    monkeypatch.setattr(Image.Image, "resize", lambda *_: (_ for _ in ()).throw(quoting))

    reason = refusal(PNG)

    assert reason.startswith("it cannot be decoded: no such thing: ???x")
    assert len(reason) < 400
