"""The format of a file, by its first bytes, and the suffixes that fit it."""

import re
from importlib.util import find_spec

from shop.pixels.errors import RefusedError

# Keys are the names of Pillow's decoders.
SUFFIXES = {
    "AVIF": (".avif", ".avifs"),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "HEIF": (".heic", ".heics", ".heif", ".heifs", ".hif"),
    "JPEG": (".jfi", ".jfif", ".jif", ".jpe", ".jpeg", ".jpg", ".mpo"),
    "PNG": (".apng", ".png"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}

_SIGNATURES = {
    "BMP": re.compile(rb"BM"),
    "GIF": re.compile(rb"GIF8[79]a"),
    "HEIF": re.compile(rb"....ftyp(?:hei[cmsx]|hev[cmsx]|mif1|msf1)", re.DOTALL),
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "PNG": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "TIFF": re.compile(rb"II[*+]\0|MM\0[*+]"),
    "WEBP": re.compile(rb"RIFF....WEBP", re.DOTALL),
}

# Files that users take for images; searched in this order.
_OTHER_SIGNATURES = {
    "a PDF": re.compile(rb"%PDF-"),
    "a ZIP file": re.compile(rb"PK\x03\x04"),
    "a gzip file": re.compile(rb"\x1f\x8b"),
    "a video": re.compile(rb"....ftyp|\x1aE\xdf\xa3", re.DOTALL),
    "a PostScript file": re.compile(rb"%!PS"),
    "a Photoshop file": re.compile(rb"8BPS"),
    "an icon": re.compile(rb"\0\0[\1\2]\0"),
    "a JPEG 2000": re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"),
    "a JPEG XL": re.compile(rb"\0\0\0\x0cJXL |\xff\x0a"),
}
_TEXT_PATTERNS = {
    "an HTML page": re.compile(rb"\s*<(?:!doctype\s+html|html)\b", re.IGNORECASE),
    "an SVG": re.compile(rb"\s*<(?:svg|[?!].*<svg)[\s>:/]", re.IGNORECASE | re.DOTALL),
    "an XML document": re.compile(rb"\s*<\?xml\b", re.IGNORECASE),
    "a text": re.compile(rb"[^\0-\x08\x0e-\x1a\x1c-\x1f\x7f]+\Z"),
}
_BYTE_ORDER_MARK = re.compile(rb"\xef\xbb\xbf|\xff\xfe|\xfe\xff")
# How far into a text its kind is searched for.
_HEAD_BYTES = 4096


def detect_format(data: bytes) -> str:
    """Return the format of a file; raises `RefusedError` for an unknown one."""
    if data[4:8] == b"ftyp" and _brands(data) & {b"avif", b"avis"}:
        return "AVIF"
    for name, beginning in _SIGNATURES.items():
        if beginning.match(data):
            return name
    known = ", ".join(display_name(name) for name in SUFFIXES if name != "HEIF" or _can_read_heic())
    raise RefusedError(f"it is {_describe_other(data)}, not one of {known}")


def find_suffix_problem(suffix: str, name: str) -> str | None:
    """Return what is wrong with a file's suffix for the format `name`; `None` if it fits."""
    suffix = suffix.lower()
    if not suffix or suffix in SUFFIXES[name]:
        return None
    holds = f"{'an' if name == 'AVIF' else 'a'} {display_name(name)}"
    if any(suffix in suffixes for suffixes in SUFFIXES.values()):
        return f"it is named {suffix} and is {holds}"
    fitting = ", ".join(SUFFIXES[name])
    return f"it is named {suffix[:20]!a} and is {holds}, whose name ends in {fitting}"


def display_name(name: str) -> str:
    """Return the common name of a format."""
    return {"HEIF": "HEIC", "WEBP": "WebP"}.get(name, name)


def _can_read_heic() -> bool:
    return find_spec("pillow_heif") is not None


def _brands(data: bytes) -> set[bytes]:
    """Return the compatible brands that a file of boxes declares."""
    end = min(int.from_bytes(data[:4]), _HEAD_BYTES)
    return {data[8:12]} | {data[at : at + 4] for at in range(16, end, 4)}


def _describe_other(data: bytes) -> str:
    for name, beginning in _OTHER_SIGNATURES.items():
        if beginning.match(data):
            return name
    head = data[:_HEAD_BYTES]
    if mark := _BYTE_ORDER_MARK.match(head):
        head = head[mark.end() :].replace(b"\0", b"")  # UTF-16 has them next to ASCII letters
    for name, text in _TEXT_PATTERNS.items():
        if text.match(head):
            return name
    return "no image that is known here"
