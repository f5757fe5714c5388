"""Cursors for paging: the sort key of the last row of a page, as text in the address."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from workshed.console.text import to_json_type
from workshed.console.web.view.page import BadQueryError, PageRequest

LARGEST = (1 << 31) - 1


def encode_cursor(*values: object) -> str:
    """Encode the sort key of a row."""
    return json.dumps(values, default=to_json_type, separators=(",", ":"))


def decode_cursor(ask: PageRequest, *kinds: type) -> tuple[Any, ...] | None:
    """Return the cursor in `before` in the address, with these types; `None` on the first page.

    Raises `BadQueryError` if `encode_cursor` has not written it.
    """
    text = ask.text("before")
    return None if text is None else parse_cursor(text, kinds)


def parse_cursor(text: str, kinds: Sequence[type]) -> tuple[Any, ...]:
    """Parse a cursor of `encode_cursor`; raises `BadQueryError`."""
    try:
        found = json.loads(text)
        values = found if isinstance(found, list) else []
        return tuple(_check_value(value, kind) for value, kind in zip(values, kinds, strict=True))
    except (ValueError, TypeError, RecursionError):
        raise BadQueryError("the position in this address cannot be read; start again") from None


def _check_value(value: object, kind: type) -> object:
    """Return a value of this type that PostgreSQL can compare with."""
    if kind is datetime and isinstance(value, str):
        at = datetime.fromisoformat(value)
        if at.tzinfo is None:
            raise ValueError("no time zone")
        return at
    if kind is UUID and isinstance(value, str):
        return UUID(value)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{type(value).__name__} is not a {kind.__name__}")
    if isinstance(value, str):
        value.encode()  # raises for a lone surrogate
        if "\0" in value:
            raise ValueError("NUL")
    elif isinstance(value, int) and abs(value) > LARGEST:
        raise ValueError("too large")
    return value
