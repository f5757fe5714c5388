"""Files that are an image and something else at the same time.

Variants are harmless, because they are written from the pixels alone. The original is not: it may
be served with the wrong type, unpacked, or included by a program.
"""

import io
import re
import zipfile

from shop.pixels.errors import RefusedError

# PDF readers look so far into a file for its signature.
_PDF_HEAD_BYTES = 1024
# Browsers look so far into a file without a type for a tag.
_SNIFFED_BYTES = 1445
_SCRIPT = re.compile(rb"<(?:\?php\s|script[\s>])", re.IGNORECASE)


def refuse_polyglot(data: bytes, *, strict: bool) -> None:
    """Refuse an image that other programs may take for a PDF, a ZIP file or a script.

    A script is searched for where a browser looks, and with `strict` in the whole file, which a
    program that includes it would read. Not by default, because the metadata that cameras write
    contains such words.
    """
    if (at := data.find(b"%PDF-", 0, _PDF_HEAD_BYTES)) >= 0:
        raise RefusedError(f"it is a PDF as well, which begins at byte {at}")
    if code := _SCRIPT.search(data, 0, len(data) if strict else _SNIFFED_BYTES):
        found = code[0].decode("ascii").strip()
        raise RefusedError(f"it holds a script as well: {found} at byte {code.start()}")
    if _is_zip(data):
        raise RefusedError("it is a ZIP file as well")


def _is_zip(data: bytes) -> bool:
    """Return whether a program would unpack it.

    `zipfile.is_zipfile` is unreliable: before Python 3.14 it looks only for four bytes near the
    end, which about one photo in 65 000 has by chance, and from 3.14 on it raises `ValueError` for
    some files.
    """
    try:
        zipfile.ZipFile(io.BytesIO(data)).close()
    except zipfile.BadZipFile:
        return False
    except (ValueError, LookupError, NotImplementedError, OSError):
        return True  # it has a ZIP directory, which Python cannot read
    return True
