"""The uniqueness rules of this service's actors, which `Uniqueness` in the chain enforces."""

from typing import Any

from workshed.middleware import Unique


def source_of(message: dict[str, Any], _reason: str = "") -> str:
    """Return the source of a sync job from its message."""
    source: str = message["args"][0] if message["args"] else message["kwargs"]["source"]
    return source


ONE_IMAGE = Unique(strategy="until_executed", on_conflict="log")
"""One job for each attachment and box, from send to end, so a second click changes nothing."""

ONE_SYNC = Unique(key=["source"])
"""One sync of a source at a time. The cursor is not part of the key."""

LATEST_RECORD = Unique("until_executing")
"""One job waits for each record. Its key is released when it starts, because changes during its
fetch must be fetched again."""

ONE_ALERT = Unique(key=source_of)
"""If many jobs of one source die, one alert is sent."""
