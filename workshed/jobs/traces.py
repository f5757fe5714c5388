"""The trace a message was sent in, as the headers that it carries."""

import re
from collections.abc import Mapping
from typing import Any

HEADERS = ("traceparent", "tracestate", "baggage", "sentry-trace")
LONGEST_HEADER = 1_024
TRACE_ID = re.compile(r"(?:[0-9a-f]{2}-)?([0-9a-f]{32})-")


def headers_problem(value: object) -> str | None:
    """Say what is wrong with the headers of a message, which other programs may have written."""
    if not isinstance(value, dict) or not 0 < len(value) <= len(HEADERS):
        return f"must be an object of {', '.join(HEADERS)}, not {value!r:.50}"
    for name, text in value.items():
        if name not in HEADERS:
            return f"has a header other than {', '.join(HEADERS)}: {name!r:.50}"
        if not _fits(text):
            return f"{name} must be at most {LONGEST_HEADER} ASCII characters"
    return None


def carry_headers(options: dict[str, Any], headers: Mapping[str, str]) -> None:
    """Put headers into the options of a message, which keeps those it has.

    One that is too long for a message is left out: the job would be refused for it on delivery.
    """
    before: dict[str, str] = options.get("trace", {})
    found = {n: t for n, t in headers.items() if n in HEADERS and n not in before and _fits(t)}
    if "baggage" in before and "baggage" in headers and found:
        both = f"{before['baggage']},{headers['baggage']}"
        found |= {"baggage": both} if _fits(both) else {}
    if found:
        options["trace"] = {**before, **found}  # a new one: copies of a message share the old


def trace_id(options: Mapping[str, Any]) -> str | None:
    """Return the id of the trace that a message was sent in, if it was in one."""
    headers: dict[str, str] = options.get("trace", {})
    for name in ("traceparent", "sentry-trace"):
        if found := TRACE_ID.match(headers.get(name, "")):
            return found[1]
    return None


def _fits(text: object) -> bool:
    return isinstance(text, str) and text.isascii() and len(text) <= LONGEST_HEADER
