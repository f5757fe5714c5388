"""Limit how much of the history a page reads, and count its runs by outcome."""

from dataclasses import replace
from datetime import datetime

from workshed.database.postgres import Connection, to_sql
from workshed.jobs.history.runs import FILTER_SQL, RunFilter, RunPosition, filter_parameters
from workshed.jobs.names import split_names

MOST_NAMES = 20
"""With more actors than this, their runs are read among those of all actors."""


def oldest_within(
    conn: Connection, run_filter: RunFilter, *, before: RunPosition | None = None, most: int
) -> datetime | None:
    """Return how far back a query may go to read about `most` runs at most; `None`: to the end.

    Only filters with an index count here; the query applies the others to the runs in that range.
    """
    # By time only: with the ID, no index by actor or parent would have this order.
    query = """
        SELECT recorded_at
          FROM workshed.runs
         WHERE (%(parent)s::text IS NULL OR parent = %(parent)s)
           AND (%(actor)s::text IS NULL OR actor = %(actor)s)
           AND (%(actors)s::text[] IS NULL OR actor = ANY (%(actors)s))
           AND (NOT %(failed)s::bool OR outcome <> 'succeeded')
           AND (%(since)s::interval IS NULL OR recorded_at >= workshed.now() - %(since)s)
           AND (%(from)s::timestamptz IS NULL OR recorded_at >= %(from)s)
           AND (%(before)s::timestamptz IS NULL OR recorded_at < %(before)s)
           AND (%(at)s::timestamptz IS NULL OR recorded_at <= %(at)s)
         ORDER BY recorded_at DESC
        OFFSET %(most)s
         LIMIT 1
    """
    actor, actors = split_names(run_filter.actor if run_filter.parent is None else None)
    if actors is not None and len(actors) > MOST_NAMES:
        actors = None
    by_name = run_filter.parent is not None or actor is not None or actors is not None
    only_failed = run_filter.has_error or (
        bool(run_filter.outcomes) and "succeeded" not in run_filter.outcomes
    )
    wanted = {
        "parent": run_filter.parent,
        "actor": actor,
        "actors": actors,
        "failed": only_failed and not by_name,
        "since": run_filter.since,
        "from": run_filter.recorded_from,
        "before": run_filter.recorded_before,
        "at": None if before is None else before.recorded_at,
        "most": most,
    }
    found = conn.execute(query, wanted, prepare=False).fetchone()
    return None if found is None else found[0]


def count_by_outcome(
    conn: Connection, run_filter: RunFilter, *, down_to: datetime | None
) -> dict[str, int]:
    """Count runs by outcome; ignores the filter's outcomes."""
    query = to_sql("""
        SELECT outcome, count(*)
          FROM workshed.runs
         WHERE {}
           AND (%(down_to)s::timestamptz IS NULL OR recorded_at >= %(down_to)s)
         GROUP BY outcome
    """).format(to_sql(FILTER_SQL))
    wanted = filter_parameters(replace(run_filter, outcomes=())) | {"down_to": down_to}
    return dict(conn.execute(query, wanted, prepare=False).fetchall())
