"""Names of contents, and the path of each."""

import re

from workshed.contrib.storage.errors import ContentNameError

NAME = re.compile(r"[0-9a-f]{64}")


def build_key(sha256: str) -> str:
    """Return `ab/cd/` and the name, so that no folder holds more than 256 of a million contents.

    Raises `ContentNameError`, for example for a name with `..`, which would lead out of the
    storage.
    """
    if not NAME.fullmatch(sha256):
        raise ContentNameError(sha256)
    return f"{sha256[:2]}/{sha256[2:4]}/{sha256}"


def parse_key(path: str) -> str | None:
    """Return the name of the content with this key; `None` if it is not the key of a content."""
    last = path.rpartition("/")[2]
    return last if NAME.fullmatch(last) and build_key(last) == path else None
