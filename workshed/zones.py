"""Time zones: their names, and when their clocks show a time."""

import importlib
import re
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

CLOCK_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
SECOND = timedelta(seconds=1)


def zone_problem(name: str) -> str | None:
    """Return what is wrong with the name of a time zone; `None` if nothing is."""
    try:
        load_zone(name)
    except (ValueError, OSError, LookupError, TypeError):
        # Imported for an error only: it takes a third of a megabyte of each process.
        close = importlib.import_module("difflib").get_close_matches(
            str(name), importlib.import_module("zoneinfo").available_timezones(), n=1
        )
        hint = f"; did you mean {close[0]}?" if close else ", as in Europe/Paris"
        return f"no time zone has this name{hint}"
    return None


@cache
def load_zone(name: str) -> "ZoneInfo":
    """Return the zone of a name; raises what `ZoneInfo` raises."""
    # Imported on first use: programs that only send rarely need it, and it takes 2 ms.
    found: ZoneInfo = importlib.import_module("zoneinfo").ZoneInfo(name)
    return found


def instants_of(local: datetime, zone: "ZoneInfo", *, named: bool) -> list[datetime]:
    """Return when the clocks of a zone show a time, in order: once, twice or never.

    A `named` time is always one instant: its first one or, if the clocks skip it, the moment after
    the gap.
    """
    both = [local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)]
    real = sorted({at for at in both if at.astimezone(zone).replace(tzinfo=None) == local})
    if not named:
        return real
    return real[:1] or [_find_change(zone, both[1], both[0])]


def _find_change(zone: "ZoneInfo", before: datetime, after: datetime) -> datetime:
    """Return the instant, to the second, between two others at which the clocks change."""
    was = utc_offset(before.astimezone(zone))
    while after - before > SECOND:
        middle = before + (after - before) // (2 * SECOND) * SECOND
        if utc_offset(middle.astimezone(zone)) == was:
            before = middle
        else:
            after = middle
    return after


def utc_offset(wall: datetime) -> timedelta:
    """Return how far a local time is ahead of UTC."""
    found = wall.utcoffset()
    assert found is not None  # noqa: S101 -- it has a zone
    return found
