"""Small generated images of every accepted kind."""

import struct
from io import BytesIO

from PIL import Image, ImageChops
from pillow_heif import register_heif_opener

register_heif_opener()  # this registers the encoder too


def picture(mode="RGB", size=(48, 32)):
    """Return a picture in which each pixel differs from its neighbours."""
    across, down = (
        Image.linear_gradient("L").transpose(turn).resize(size)
        for turn in (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180)
    )
    colours = Image.merge("RGB", (across, down, ImageChops.difference(across, down)))
    if mode in {"RGBA", "LA"}:
        colours.putalpha(down)
    return colours.convert(mode)


def encoded(image, kind, **options):
    """Return the bytes of a file of that kind."""
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def film(kind, count=4, **options):
    """Return an animation whose frames have different colours."""
    frames = [Image.new("RGB", (48, 32), (60 * at, 255 - 60 * at, 30)) for at in range(count)]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)


def rle_bmp():
    """Return a compressed BMP of 4 by 2 pixels, handmade because Pillow cannot write those."""
    rows = bytes([4, 1, 0, 0, 4, 2, 0, 1])
    palette = bytes([0, 0, 0, 0, 255, 0, 0, 0, 0, 255, 0, 0]) + bytes(4 * 253)
    start = 14 + 40 + len(palette)
    return (
        struct.pack("<2sIHHI", b"BM", start + len(rows), 0, 0, start)
        + struct.pack("<IiiHHIIiiII", 40, 4, 2, 1, 8, 1, len(rows), 0, 0, 256, 0)
        + palette
        + rows
    )


SAMPLES = {
    "jpeg": (".jpg", encoded(picture(), "JPEG")),
    "progressive.jpeg": (".jpeg", encoded(picture(), "JPEG", progressive=True)),
    "restarts.jpeg": (".jpe", encoded(picture(), "JPEG", restart_marker_blocks=1)),
    "cmyk.jpeg": (".jpg", encoded(picture("CMYK"), "JPEG")),
    "grey.jpeg": (".jpg", encoded(picture("L"), "JPEG")),
    "mpo": (".jpg", encoded(picture(), "MPO", save_all=True, append_images=[picture()])),
    "png": (".png", encoded(picture(), "PNG")),
    "alpha.png": (".png", encoded(picture("RGBA"), "PNG")),
    "palette.png": (".png", encoded(picture("P"), "PNG")),
    "apng": (".png", film("PNG", duration=40)),
    "lossy.webp": (".webp", encoded(picture(), "WEBP")),
    "lossless.webp": (".webp", encoded(picture("RGBA"), "WEBP", lossless=True)),
    "moving.webp": (".webp", film("WEBP", duration=40)),
    "gif": (".gif", encoded(picture("P"), "GIF")),
    "moving.gif": (".gif", film("GIF", duration=40, loop=0)),
    "avif": (".avif", encoded(picture(), "AVIF")),
    "alpha.avif": (".avif", encoded(picture("RGBA"), "AVIF")),
    "moving.avif": (".avif", film("AVIF", duration=40)),
    "heic": (".heic", encoded(picture(), "HEIF")),
    "alpha.heic": (".heic", encoded(picture("RGBA"), "HEIF")),
    "grey.heic": (".heif", encoded(picture("L"), "HEIF")),
    "tiles.heic": (".heic", encoded(picture(), "HEIF", tile_size=16)),
    "several.heic": (".heics", film("HEIF", 3)),
    "raw.tiff": (".tif", encoded(picture(), "TIFF")),
    "lzw.tiff": (".tiff", encoded(picture(), "TIFF", compression="tiff_lzw")),
    "jpeg.tiff": (".tif", encoded(picture(), "TIFF", compression="jpeg")),
    "fax.tiff": (".tif", encoded(picture("1"), "TIFF", compression="group4")),
    "pages.tiff": (".tif", film("TIFF", 3)),
    "bmp": (".bmp", encoded(picture(), "BMP")),
    "rle.bmp": (".bmp", rle_bmp()),
}
