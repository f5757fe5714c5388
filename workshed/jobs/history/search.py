"""Search the history in steps, for a limited time."""

import time

from workshed import db
from workshed.database.postgres import Connection, to_sql
from workshed.jobs.history.pagination import oldest_within
from workshed.jobs.history.runs import Run, RunFilter, RunPosition, list_runs
from workshed.value_class import value_class

FIRST_STEP = 2_000
"""Runs of the first step, which shows how fast this filter is."""
LARGEST_STEP = 200_000
STEP_S = 0.2
"""How long a later step should take, so that a search ends close to its limit."""
MOST_GROWTH = 8
"""How many times as large as the step before it a step may be."""
LONGEST_S = 1.0
"""PostgreSQL cancels a statement of a step after this time, because a disk may be slow,"""
SHORTEST_S = 0.05
"""and after the time that is left, but not before this."""


@value_class
class SearchResult:
    """The runs that a search has found, and where it stopped."""

    runs: list[Run]
    """Latest first."""
    searched: int = 0
    """How many runs it has looked through in whole steps, if it stopped for lack of time."""
    stopped_at: RunPosition | None = None
    """Where to continue, if it stopped for lack of time."""


def search_runs(
    conn: Connection,
    run_filter: RunFilter,
    *,
    before: RunPosition | None = None,
    limit: int,
    within_s: float,
) -> SearchResult:
    """Return the latest matching runs: up to `limit`, or those found within a time.

    Each step has statements of its own, so that no snapshot holds back VACUUM for longer. At least
    one step is completed, however short the time. Call it last in a transaction, because it sets
    `statement_timeout`. Raises `psycopg.errors.QueryCanceled` if the first step takes too long.
    """
    began = time.monotonic()
    found: list[Run] = []
    searched, size, at, limit_s = 0, FIRST_STEP, before, LONGEST_S
    while True:
        step_began = time.monotonic()
        try:
            with conn.transaction():
                limit_ms = round(limit_s * 1000)
                conn.execute(to_sql("SET LOCAL statement_timeout = {}").format(limit_ms))
                down_to = oldest_within(conn, run_filter, before=at, most=size - 1)
                left = limit - len(found)
                found += list_runs(conn, run_filter, before=at, down_to=down_to, limit=left)
        except db.errors.QueryCanceled:
            if not searched:
                raise
            return SearchResult(found, searched, at)
        if len(found) == limit or down_to is None:
            return SearchResult(found)
        searched += size
        at = RunPosition.older_than(down_to)
        now = time.monotonic()
        left_s = within_s - (now - began)
        if left_s <= 0:
            return SearchResult(found, searched, at)
        size = next_size(size, now - step_began, min(left_s, STEP_S))
        limit_s = min(max(left_s, SHORTEST_S), LONGEST_S)


def next_size(size: int, took_s: float, wanted_s: float) -> int:
    """Return how many runs the next step should read to take a time."""
    growth = min(wanted_s / max(took_s, 1e-6), MOST_GROWTH)
    return max(FIRST_STEP, min(int(size * growth), LARGEST_STEP))
