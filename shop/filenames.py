"""Names of uploaded files, which are stored and shown."""

import re

MAX_LENGTH = 255
"""Characters; a longer name keeps its end, which has the suffix."""
UNUSABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def clean_filename(filename: str) -> str:
    """Turn a browser's file name into one that can be stored and shown: no folder, no controls."""
    last = re.split(r"[/\\]", filename)[-1]
    return UNUSABLE.sub("\ufffd", last)[-MAX_LENGTH:] or "unnamed"
