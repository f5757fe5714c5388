"""Names of files that people hand in, which are stored and shown."""

import re

LONGEST = 255
"""Characters; of a longer one the end is kept, where the suffix is."""
UNUSABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def named(filename: str) -> str:
    """Make of a browser's file name one that can be stored and shown: no folder, no controls."""
    last = re.split(r"[/\\]", filename)[-1]
    return UNUSABLE.sub("\ufffd", last)[-LONGEST:] or "unnamed"
