"""Limit how much of the history a page reads, and count its runs by outcome."""

from datetime import datetime

from workshed.database.postgres import Connection
from workshed.jobs.history.runs import RunFilter, RunPosition, filter_parameters


def oldest_within(
    conn: Connection, which: RunFilter, *, before: RunPosition | None = None, most: int
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
           AND (NOT %(failed)s::bool OR outcome <> 'succeeded')
           AND (%(since)s::interval IS NULL OR recorded_at >= workshed.now() - %(since)s)
           AND (%(from)s::timestamptz IS NULL OR recorded_at >= %(from)s)
           AND (%(before)s::timestamptz IS NULL OR recorded_at < %(before)s)
           AND (%(at)s::timestamptz IS NULL OR recorded_at <= %(at)s)
         ORDER BY recorded_at DESC
        OFFSET %(most)s
         LIMIT 1
    """
    by_name = which.parent is not None or which.actor is not None
    wanted = {
        "parent": which.parent,
        "actor": which.actor if which.parent is None else None,
        "failed": bool(which.outcomes) and "succeeded" not in which.outcomes and not by_name,
        "since": which.since,
        "from": which.recorded_from,
        "before": which.recorded_before,
        "at": None if before is None else before.recorded_at,
        "most": most,
    }
    found = conn.execute(query, wanted, prepare=False).fetchone()
    return None if found is None else found[0]


def count_by_outcome(
    conn: Connection, which: RunFilter, *, down_to: datetime | None
) -> dict[str, int]:
    """Count runs by outcome; ignores the filter's outcomes."""
    query = """
        SELECT outcome, count(*)
          FROM workshed.runs
         WHERE (%(actor)s::text IS NULL OR actor = %(actor)s)
           AND (%(queue)s::text IS NULL OR queue = %(queue)s)
           AND (%(error)s::text IS NULL OR error_class = %(error)s)
           AND (%(tag)s::text IS NULL OR %(tag)s = ANY (tags))
           AND (%(parent)s::text IS NULL OR parent = %(parent)s)
           AND (%(arguments)s::jsonb IS NULL OR arguments::jsonb @> %(arguments)s)
           AND (%(longer_s)s::double precision IS NULL OR duration_s >= %(longer_s)s)
           AND (%(since)s::interval IS NULL OR recorded_at >= workshed.now() - %(since)s)
           AND (%(from)s::timestamptz IS NULL OR recorded_at >= %(from)s)
           AND (%(before)s::timestamptz IS NULL OR recorded_at < %(before)s)
           AND (%(down_to)s::timestamptz IS NULL OR recorded_at >= %(down_to)s)
         GROUP BY outcome
    """
    wanted = filter_parameters(which) | {"down_to": down_to}
    return dict(conn.execute(query, wanted, prepare=False).fetchall())
