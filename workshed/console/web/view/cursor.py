"""Where a list goes on: what the last row of a page is sorted by, as text in its address."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from workshed.console.text import plain
from workshed.console.web.view.page import BadQueryError, PageRequest

LARGEST = (1 << 31) - 1


def encode_cursor(*values: object) -> str:
    """Write what a row is sorted by."""
    return json.dumps(values, default=plain, separators=(",", ":"))


def decode_cursor(ask: PageRequest, *kinds: type) -> tuple[Any, ...] | None:
    """Return what `before` in the address of a page says, of these kinds; `None` on the first page.

    Raises `BadQueryError` for what `encode_cursor` has not written.
    """
    text = ask.text("before")
    return None if text is None else parse_cursor(text, kinds)


def parse_cursor(text: str, kinds: Sequence[type]) -> tuple[Any, ...]:
    """Read what `encode_cursor` wrote; raises `BadQueryError`."""
    try:
        found = json.loads(text)
        values = found if isinstance(found, list) else []
        return tuple(_read(value, kind) for value, kind in zip(values, kinds, strict=True))
    except (ValueError, TypeError, RecursionError):
        raise BadQueryError("what this address goes on from cannot be read; begin again") from None


def _read(value: object, kind: type) -> object:
    """Return a value that PostgreSQL can compare with."""
    if kind is datetime and isinstance(value, str):
        at = datetime.fromisoformat(value)
        if at.tzinfo is None:
            raise ValueError("no time zone")
        return at
    if kind is UUID and isinstance(value, str):
        return UUID(value)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{type(value).__name__} is no {kind.__name__}")
    if isinstance(value, str):
        value.encode()  # no half of a surrogate pair
        if "\0" in value:
            raise ValueError("NUL")
    elif isinstance(value, int) and abs(value) > LARGEST:
        raise ValueError("too large")
    return value
