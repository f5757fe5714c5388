"""Only the pixels of an image are kept."""

import struct
import zlib

import pytest
from PIL import Image, ImageCms, PngImagePlugin, TiffImagePlugin
from PIL.ExifTags import GPS, IFD, Base

from tests.service.unit.pixels.samples import encoded, film, picture

SECRET = b"48.8584N 2.2945E Rue du Secret"
TEXT = SECRET.decode()


def exif(orientation=6):
    tags = Image.Exif()
    tags[Base.ImageDescription] = tags[Base.Artist] = tags[Base.Copyright] = TEXT
    tags[Base.Orientation] = orientation
    tags.get_ifd(IFD.Exif)[Base.UserComment] = b"ASCII\0\0\0" + SECRET
    tags.get_ifd(IFD.GPSInfo)[GPS.GPSLatitudeRef] = "N"
    tags.get_ifd(IFD.GPSInfo)[GPS.GPSAreaInformation] = SECRET
    return tags.tobytes() + SECRET  # after the tags, where a thumbnail would be


def profile():
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() + SECRET


XMP = b"<x:xmpmeta><rdf:Description tiff:Artist='" + SECRET + b"'/></x:xmpmeta>"


def segment(code, content):
    return struct.pack(">BBH", 0xFF, code, len(content) + 2) + content


def jpeg():
    iptc = b"\x1c\x02\x78" + struct.pack(">H", len(SECRET)) + SECRET
    resource = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(iptc)) + iptc + bytes(len(iptc) % 2)
    extra = (
        segment(0xED, b"Photoshop 3.0\0" + resource)
        + segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP)
        + segment(0xEC, b"Ducky" + SECRET)
        + segment(0xE5, SECRET)
    )
    return encoded(
        picture(), "JPEG", comment=SECRET, exif=exif(), icc_profile=profile(), extra=extra
    )


def png_texts():
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Author", TEXT)
    texts.add_text("Comment", TEXT, zip=True)
    texts.add_itxt("Title", TEXT, "en", TEXT)
    texts.add_itxt("XML:com.adobe.xmp", XMP)
    texts.add(b"prVt", SECRET)
    texts.add(b"sPLT", SECRET)
    texts.add(b"tIME", struct.pack(">HBBBBB", 2026, 1, 1, 0, 0, 0))
    texts.add(b"prVu", SECRET, after_idat=True)
    return texts


def gif_with_texts(data):
    """Return a GIF with a comment, an XMP block, and a text to be drawn over it."""
    at = 13 + (3 << (data[10] & 7) + 1)
    blocks = b""
    for code, first in ((0xFE, b""), (0xFF, b"XMP DataXMP"), (0x01, bytes(12))):
        blocks += bytes([0x21, code])
        for content in (first, SECRET):
            blocks += bytes([len(content)]) + content if content else b""
        blocks += b"\0"
    return data[:at] + blocks + data[at:]


def tiff():
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[Base.ImageDescription] = tags[Base.Artist] = tags[Base.HostComputer] = TEXT
    tags[700] = XMP
    tags[33723] = SECRET
    tags[34377] = b"8BIM" + SECRET
    return encoded(picture(), "TIFF", tiffinfo=tags, icc_profile=profile())


def bmp():
    """Return a BMP with a gap before the pixels that may hold any bytes."""
    data = encoded(picture(), "BMP")
    (start,) = struct.unpack_from("<I", data, 10)
    moved = struct.pack("<2sIHHI", b"BM", len(data) + len(SECRET), 0, 0, start + len(SECRET))
    return moved + data[14:start] + SECRET + data[start:]


MARKED = {"exif": exif(), "xmp": XMP, "icc_profile": profile()}
LADEN = {
    "jpeg": jpeg(),
    "grey jpeg": encoded(picture("L"), "JPEG", comment=SECRET, exif=exif()),
    "mpo": encoded(
        picture(), "MPO", save_all=True, append_images=[picture()], comment=SECRET, exif=exif()
    ),
    "png": encoded(picture(), "PNG", pnginfo=png_texts(), exif=exif(), icc_profile=profile()),
    "png with alpha": encoded(
        picture("RGBA"), "PNG", pnginfo=png_texts(), exif=exif(), icc_profile=profile()
    ),
    "apng": film("PNG", pnginfo=png_texts(), exif=exif(), icc_profile=profile()),
    "webp": encoded(picture(), "WEBP", **MARKED),
    "webp with alpha": encoded(picture("RGBA"), "WEBP", **MARKED),
    "moving webp": film("WEBP", **MARKED),
    "gif": gif_with_texts(encoded(picture("P"), "GIF", comment=SECRET)),
    "moving gif": gif_with_texts(film("GIF", comment=SECRET)),
    "avif": encoded(picture(), "AVIF", **MARKED),
    "avif with alpha": encoded(picture("RGBA"), "AVIF", **MARKED),
    "heic": encoded(picture(), "HEIF", **MARKED),
    "heic with alpha": encoded(picture("RGBA"), "HEIF", **MARKED),
    # Pillow 13 crashes when it writes an animation with a rotation.
    "moving avif": film("AVIF", duration=40, **MARKED | {"exif": exif(1)}),
    "tiff": tiff(),
    "bmp": bmp(),
}


@pytest.mark.parametrize("name", LADEN)
@pytest.mark.parametrize("wanted_format", ["jpeg", "webp", "avif"])
def test_no_secret_of_the_file_is_in_what_is_made(name, wanted_format, variant):
    data = LADEN[name]
    assert SECRET in data

    outcome = variant(data, format=wanted_format)

    assert SECRET not in outcome.data
    assert PARTS[outcome.made.media_type](outcome.data) <= ALLOWED[outcome.made.media_type]


def jpeg_parts(data):
    """Return the markers, with the content type of application markers."""
    found, at = set(), 2
    while data[at + 1] != 0xDA:
        length = int.from_bytes(data[at + 2 : at + 4])
        found.add((data[at + 1], data[at + 4 : at + 8] if 0xE0 <= data[at + 1] <= 0xEF else b""))
        at += 2 + length
    rest = data[at + 2 :].replace(b"\xff\x00", b"")
    assert rest.count(b"\xff") == 1
    assert rest.endswith(b"\xff\xd9")
    return found


def png_parts(data):
    found, at = [], 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        found.append(data[at + 4 : at + 8])
        assert zlib.crc32(data[at + 4 : at + 8 + length]) == int.from_bytes(
            data[at + 8 + length : at + 12 + length]
        )
        at += 12 + length
    assert at == len(data)
    return set(found)


def webp_parts(data):
    assert int.from_bytes(data[4:8], "little") == len(data) - 8
    return set(riff(data, 12, len(data)))


def riff(data, at, end):
    while at < end:
        name, size = struct.unpack_from("<4sI", data, at)
        yield name
        if name == b"ANMF":
            yield from riff(data, at + 8 + 16, at + 8 + size)
        at += 8 + size + size % 2
    assert at == end


CONTAINERS = {b"meta": 4, b"iprp": 0, b"ipco": 0, b"iref": 4, b"iinf": 6}


def avif_parts(data):
    return set(boxes(data, 0, len(data)))


def boxes(data, at, end):
    while at < end:
        size, name = struct.unpack_from(">I4s", data, at)
        content = data[at + 8 : at + size]
        yield name + {b"infe": content[8:12], b"colr": content[:4]}.get(name, b"")
        if name in CONTAINERS:
            yield from boxes(data, at + 8 + CONTAINERS[name], at + size)
        at += size
    assert at == end


PARTS = {
    "image/jpeg": jpeg_parts,
    "image/png": png_parts,
    "image/webp": webp_parts,
    "image/avif": avif_parts,
}
ALLOWED = {
    "image/jpeg": {(0xE0, b"JFIF"), (0xDB, b""), (0xC0, b""), (0xC4, b"")},
    "image/png": {b"IHDR", b"IDAT", b"IEND"},
    "image/webp": {b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"},
    "image/avif": set(
        b"ftyp meta hdlr pitm iloc iinf infeav01 iref auxl iprp ipco ispe pixi av1C colrnclx auxC "
        b"ipma mdat".split()
    ),
}
