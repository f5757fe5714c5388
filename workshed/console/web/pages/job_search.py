"""One look at the history of jobs, which takes a limited time and says where it stands."""

import re
import threading
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from workshed.console.web.view.page import ROWS, BadQueryError, PageRequest
from workshed.jobs.history import search
from workshed.jobs.history.runs import LARGEST_ID, Run, RunFilter, RunPosition
from workshed.value_class import value_class

QUICK_S = 0.1
"""How long a look takes at most, in PostgreSQL, if the filter has an index, as most have."""
SEARCH_S = 1.0
"""How long one takes that reads the runs one by one."""
MOST_SEARCHES = 2
"""Looks of `SEARCH_S` at a time per process, so that pages have connections; others are quick."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
POSITION = re.compile(r"([0-9]{1,17})\.([0-9]{1,19})(?:\.([0-9]{1,15})\.([0-9]{1,15}))?")
_searches = threading.BoundedSemaphore(MOST_SEARCHES)


@value_class
class SearchPosition:
    """Where a look continues another, and what those before it have done."""

    place: RunPosition
    searched: int = 0
    """How many runs they have looked through without filling a page."""
    found: int = 0
    """How many of these matched."""


def look(ask: PageRequest, run_filter: RunFilter) -> tuple[list[Run], dict[str, Any]]:
    """Return the matching runs of a page, and how far it has looked."""
    start = decode_position(ask.text("before"))
    before = None if start is None else start.place
    searched, found_before = (0, 0) if start is None else (start.searched, start.found)
    with _time_limit(is_search=searched > 0 or is_search(run_filter)) as within_s:
        result = search.search_runs(
            ask.conn, run_filter, before=before, limit=ROWS + 1, within_s=within_s
        )
    shown, older, down_to = result.runs[:ROWS], None, None
    if len(result.runs) > ROWS:
        older = SearchPosition(RunPosition(shown[-1].recorded_at, shown[-1].id))
    elif result.stopped_at is not None:
        searched, down_to = searched + result.searched, result.stopped_at.recorded_at
        older = SearchPosition(result.stopped_at, searched, found_before + len(shown))
    return shown, {
        "older": None if older is None else encode_position(older),
        "looked": searched,
        "looked_down_to": down_to,
        "found_before": found_before,
    }


def is_search(run_filter: RunFilter) -> bool:
    """Return whether a filter has no index, so that each run has to be read."""
    return not (
        run_filter.tag is None
        and run_filter.arguments is None
        and run_filter.argument_value is None
        and run_filter.longer_than is None
    )


def encode_position(position: SearchPosition) -> str:
    """Format a position for an address."""
    place = position.place
    text = f"{(place.recorded_at - EPOCH) // MICROSECOND}.{place.id}"
    return f"{text}.{position.searched}.{position.found}" if position.searched else text


def decode_position(text: str | None) -> SearchPosition | None:
    """Parse a position that `encode_position` formatted; raises `BadQueryError`."""
    if text is None:
        return None
    found = POSITION.fullmatch(text)
    if found is None:
        raise BadQueryError(f"{text!r} is not a position in the history", "before")
    place = RunPosition(EPOCH + int(found[1]) * MICROSECOND, min(int(found[2]), LARGEST_ID))
    return SearchPosition(place, int(found[3] or 0), int(found[4] or 0))


@contextmanager
def _time_limit(*, is_search: bool) -> Generator[float]:
    """Yield how long a look may take, in seconds."""
    if not (is_search and _searches.acquire(blocking=False)):
        yield QUICK_S
        return
    try:
        yield SEARCH_S
    finally:
        _searches.release()
