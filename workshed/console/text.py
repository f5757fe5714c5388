"""Values as JSON has them, and texts as a terminal or a page may show them."""

import dataclasses
from datetime import datetime, timedelta

# What a terminal would obey: control characters, but for tab and line feed, and lone surrogates,
# which it cannot show. Bodies and errors are written by anyone who could send.
CONTROLS = {
    code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n"
}


def plain(value: object) -> object:
    """Turn what JSON lacks into what it has: ISO 8601 times, spans in seconds."""
    match value:
        case datetime():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return dataclasses.asdict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def visible(text: str) -> str:
    """Write out what a terminal would obey or could not show."""
    return text.translate(CONTROLS).encode(errors="backslashreplace").decode()
