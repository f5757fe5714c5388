"""Data that cameras append to pictures, and where a picture ends."""

import struct

import pytest

from tests.service.unit.pixels.samples import SAMPLES, encoded, picture

JPEG = SAMPLES["jpeg"][1]


def box(name, content):
    return struct.pack(">I4s", len(content) + 8, name) + content


MP4 = box(b"ftyp", b"mp42\0\0\0\0isommp42") + box(b"moov", bytes(40)) + box(b"mdat", b"film" * 9)


def samsung(*contents):
    """Return the trailer of a Galaxy; each block begins with its type."""
    blocks, entries = b"", b""
    bodies = [struct.pack("<HHI", 0, 0x0A01, 5) + b"Time!" + content for content in contents]
    whole = sum(map(len, bodies))
    for body in bodies:
        entries += struct.pack("<HHII", 0, 0x0A01, whole - len(blocks), len(body))
        blocks += body
    directory = struct.pack("<4sII", b"SEFH", 107, len(bodies)) + entries
    return blocks + directory + struct.pack("<I4s", len(directory), b"SEFT")


@pytest.mark.parametrize(
    "tail",
    [
        bytes(1),
        bytes(5000),
        JPEG,
        bytes(3) + JPEG + JPEG + bytes(100),
        MP4,
        JPEG + MP4,
        MP4 + bytes(16),
        samsung(b"1700000000000", b"more"),
        samsung(MP4),
        JPEG + samsung(b"x" * 100),
        samsung(),
    ],
)
@pytest.mark.parametrize("progressive", [False, True])
def test_data_that_cameras_append_to_a_jpeg_is_harmless(progressive, tail, variant):
    data = encoded(picture(), "JPEG", progressive=progressive) + tail

    assert variant(data, suffix=".jpg").made


@pytest.mark.parametrize(
    "tail",
    [
        MP4 + b"x",
        MP4[:-1],
        JPEG[:-2],
        JPEG + b"x",
        b"x" + JPEG,
        samsung(b"time")[1:],
        b"evil" + samsung(b"time"),
        samsung(b"time") + b"x",
        b"SEFT",
        struct.pack("<I4s", 1 << 31, b"SEFT"),
        b"SEFH" + struct.pack("<II", 107, 0) + struct.pack("<I4s", 11, b"SEFT"),
        b"SEFH" + struct.pack("<II", 107, 9) + struct.pack("<I4s", 12, b"SEFT"),
        b"evil" + struct.pack("<II", 107, 0) + struct.pack("<I4s", 12, b"SEFT"),
    ],
)
def test_data_that_only_resembles_a_trailer_is_refused(tail, refusal):
    reason = refusal(JPEG + tail)

    assert reason.startswith("it is truncated") or "follow the end of the JPEG" in reason


@pytest.mark.parametrize("name", SAMPLES)
def test_zeros_may_follow(name, variant):
    assert variant(SAMPLES[name][1] + bytes(1000)).made


def test_a_preview_within_a_jpeg_is_not_its_end(variant):
    data = encoded(picture(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0" + JPEG)

    assert variant(data).image.size == (48, 32)


def test_an_end_marker_inside_a_table_of_a_jpeg_is_ignored(variant):
    """A comment may stand there, as a table may."""
    data = encoded(picture(), "JPEG", progressive=True)
    second = data.index(b"\xff\xda", data.index(b"\xff\xda") + 2)
    comment = b"\xff\xfe\0\x04\xff\xd9"

    assert variant(data[:second] + comment + data[second:]).made


def test_a_bmp_may_lie_about_its_length(variant):
    for size in (0, 17, 1 << 31):
        data = bytearray(SAMPLES["bmp"][1])
        struct.pack_into("<I", data, 2, size)
        assert variant(bytes(data)).made


def test_a_bmp_has_its_colour_profile_behind_its_pixels(variant, refusal):
    plain = SAMPLES["bmp"][1]
    (start,) = struct.unpack_from("<I", plain, 10)
    profile = b"ICC" * 20
    header = bytearray(plain[18:54]) + bytes(84)
    struct.pack_into("<II", header, 108, 124 + len(plain) - start, len(profile))
    data = struct.pack("<2sIHHI", b"BM", 0, 0, 0, 14 + 124) + struct.pack("<I", 124)
    data += bytes(header) + plain[start:] + profile

    assert variant(data).made
    assert "1 bytes follow" in refusal(data + b"x")
    assert "truncated" in refusal(data[:-1])


def test_a_gif_may_end_a_block_twice(variant):
    data = SAMPLES["gif"][1]

    assert variant(data[:-1] + b"\0\0;").made
