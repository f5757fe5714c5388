"""Tags: short words of a message that rules and filters find it by."""

MOST = 10
LONGEST_BYTES = 100


def problem(value: object) -> str | None:
    """Say why a value is no list of tags, or nothing."""
    if not isinstance(value, (list, tuple)) or not 0 < len(value) <= MOST:
        return f"must be a list of 1 to {MOST} tags, not {value!r:.80}"
    for tag in value:
        if not isinstance(tag, str) or "\0" in tag or not 0 < size(tag) <= LONGEST_BYTES:
            return f"has a tag that is no string of 1 to {LONGEST_BYTES} bytes: {tag!r:.50}"
    return None


def size(tag: str) -> int:
    """Return its length in bytes; 0 for what is not valid Unicode."""
    try:
        return len(tag.encode())
    except UnicodeEncodeError:
        return 0
