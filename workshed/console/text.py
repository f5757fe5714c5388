"""Convert values to JSON, and make texts safe to show on a terminal or a page."""

import dataclasses
import re
from datetime import datetime, timedelta

# Control characters, except tab and line feed, because a terminal would execute them. Anyone who
# can send a job can write them into a body or an error.
CONTROL_ESCAPES = {
    code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n"
}


LONGEST_LINE = 200
"""Longest error in a list, in characters."""


def to_json_type(value: object) -> object:
    """Convert a value for JSON: times to ISO 8601, spans to seconds, dataclasses to objects."""
    match value:
        case datetime():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return dataclasses.asdict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def one_line_error(error_class: str | None, reason: str) -> str:
    """Return why a job failed in one line: the class of its error, if any, and the text.

    A reason such as `failed 3 times: OSError: away` is shown from its error on.
    """
    said = reason.partition("\n")[0]
    if error_class is not None:
        error = re.search(rf"\b{re.escape(error_class)}\b.*", said)
        said = (error[0] if error else f"{error_class}: {said}").rstrip(": ")
    return said if len(said) <= LONGEST_LINE else f"{said[:LONGEST_LINE]}…"


def escape_control(text: str) -> str:
    """Escape control characters, and surrogates, which a terminal cannot show."""
    return text.translate(CONTROL_ESCAPES).encode(errors="backslashreplace").decode()
