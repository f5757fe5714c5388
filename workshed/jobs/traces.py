"""The trace in which a message was sent, as headers in its options."""

import re
from collections.abc import Mapping
from typing import Any

HEADERS = ("traceparent", "tracestate", "baggage", "sentry-trace")
LONGEST_HEADER = 1_024
TRACE_ID = re.compile(r"(?:[0-9a-f]{2}-)?([0-9a-f]{32})-")


def headers_problem(value: object) -> str | None:
    """Return what is wrong with a message's headers, which may come from other programs."""
    if not isinstance(value, dict) or not 0 < len(value) <= len(HEADERS):
        return f"must be an object of {', '.join(HEADERS)}, not {value!r:.50}"
    for name, text in value.items():
        if name not in HEADERS:
            return f"has a header other than {', '.join(HEADERS)}: {name!r:.50}"
        if not _fits(text):
            return f"{name} must be at most {LONGEST_HEADER} ASCII characters"
    return None


def add_headers(options: dict[str, Any], headers: Mapping[str, str]) -> None:
    """Add headers to the options of a message, which keeps those it has.

    Headers that are too long are left out, because the job would be refused on delivery.
    """
    before: dict[str, str] = options.get("trace", {})
    found = {n: t for n, t in headers.items() if n in HEADERS and n not in before and _fits(t)}
    if "baggage" in before and "baggage" in headers and found:
        both = f"{before['baggage']},{headers['baggage']}"
        found |= {"baggage": both} if _fits(both) else {}
    if found:
        options["trace"] = {**before, **found}  # a new dict, because copies share the old one


def find_trace_id(options: Mapping[str, Any]) -> str | None:
    """Return the ID of the trace in which a message was sent, if any."""
    headers: dict[str, str] = options.get("trace", {})
    for name in ("traceparent", "sentry-trace"):
        if found := TRACE_ID.match(headers.get(name, "")):
            return found[1]
    return None


def _fits(text: object) -> bool:
    return isinstance(text, str) and text.isascii() and len(text) <= LONGEST_HEADER
