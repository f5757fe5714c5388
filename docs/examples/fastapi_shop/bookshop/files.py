"""Uploaded files, and thumbnails of photos."""

from io import BytesIO

from PIL import Image

from workshed.contrib.storage import blobs, storage


def keep(content: bytes) -> str:
    """Store a file; return its SHA-256, to which a row must refer soon."""
    with storage().draft() as draft:
        draft.write(content)
        return blobs.keep(draft).sha256


def read(sha256: str) -> bytes:
    """Return the content of a file."""
    with storage().open(sha256) as file:
        return file.read()


def shrink(sha256: str, width: int) -> str:
    """Store a smaller version of a photo; return its SHA-256."""
    with Image.open(BytesIO(read(sha256))) as photo:
        photo.thumbnail((width, width))
        shrunk = BytesIO()
        photo.convert("RGB").save(shrunk, "JPEG", quality=85)
    return keep(shrunk.getvalue())
