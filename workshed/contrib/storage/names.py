"""Names of contents, and where each lies."""

import re

from workshed.contrib.storage.errors import ContentNameError

NAME = re.compile(r"[0-9a-f]{64}")


def key(sha256: str) -> str:
    """Return `ab/cd/` and the name: of a million contents no folder then holds more than 256.

    Raises `ContentNameError`: a name with `..` in it would lead out of the place.
    """
    if not NAME.fullmatch(sha256):
        raise ContentNameError(sha256)
    return f"{sha256[:2]}/{sha256[2:4]}/{sha256}"


def name(path: str) -> str | None:
    """Return the name of the content whose key this is; `None` for what is no content of ours."""
    last = path.rpartition("/")[2]
    return last if NAME.fullmatch(last) and key(last) == path else None
