"""Minimal colour profiles."""

from PIL import ImageCms

WHITE = bytes.fromhex("0000f6d6000100000000d32d")


def srgb():
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def swapped():
    """Return sRGB with red and green swapped."""
    profile = bytearray(srgb())
    entries = int.from_bytes(profile[128:132])
    at = {bytes(profile[p : p + 4]): p for p in range(132, 132 + 12 * entries, 12)}
    red, green = at[b"rXYZ"], at[b"gXYZ"]
    profile[red : red + 4], profile[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(profile)


def light_grey():
    """Return a grey profile with gamma 0.5: a quarter of the signal is half of the light."""
    curve = b"curv" + bytes(4) + (1).to_bytes(4) + (128).to_bytes(2) + bytes(2)
    return _profile(b"mntrGRAYXYZ ", b"kTRC", curve)


def dull_printer():
    """Return inks on bad paper: a table from inks to Lab with 2 levels for each ink (lut8)."""

    def lab(c, m, y, k):
        lightness = 100 * (1 - 0.5 * c) * (1 - 0.5 * m) * (1 - 0.1 * y) * (1 - k)
        a, b = (60 * m - 8 * c) * (1 - k), (70 * y - 20 * c) * (1 - k)
        return bytes([round(lightness * 2.55), round(a + 128), round(b + 128)])

    levels = (0, 1)
    table = [lab(c, m, y, k) for c in levels for m in levels for y in levels for k in levels]
    straight = bytes(range(256))
    unity = b"".join((0x10000 if at % 4 == 0 else 0).to_bytes(4) for at in range(9))
    head = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + unity
    return _profile(b"prtrCMYKLab ", b"A2B0", head + straight * 4 + b"".join(table) + straight * 3)


def _profile(device, name, content):
    text = b"desc" + bytes(4) + (2).to_bytes(4) + b"x\0" + bytes(79)
    parts = [(name, content), (b"wtpt", b"XYZ " + bytes(4) + WHITE), (b"desc", text)]
    start, tags, body = 128 + 4 + 12 * len(parts), len(parts).to_bytes(4), b""
    for tag, part in parts:
        tags += tag + (start + len(body)).to_bytes(4) + len(part).to_bytes(4)
        body += part + bytes(-len(part) % 4)
    header = (start + len(body)).to_bytes(4) + bytes(4) + bytes.fromhex("02400000") + device
    header += bytes(12) + b"acsp"
    header += bytes(68 - len(header)) + WHITE
    return header + bytes(128 - len(header)) + tags + body
