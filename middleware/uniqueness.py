"""What is unique in this service: rules of its actors, which `Uniqueness` in the chain enforces."""

from typing import Any

from workshed.middleware import Unique


def source_of(message: dict[str, Any], _reason: str = "") -> str:
    """Return the source of a job of a sync, from its message."""
    source: str = message["args"][0] if message["args"] else message["kwargs"]["source"]
    return source


ONE_IMAGE = Unique(strategy="until_executed", on_conflict="log")
"""One job for each attachment and box, from its send to its end: a second click changes nothing."""

ONE_SYNC = Unique(key=["source"])
"""One sync of a source at a time. The cursor is not part of the key."""

LATEST_RECORD = Unique("until_executing")
"""One job waits for each record. What changes while it fetches is to be fetched again, so the key
is free when it starts."""

ONE_ALERT = Unique(key=source_of)
"""If many jobs of one source die, one alert is sent."""
