"""How many runs ended in each minute, by actor, queue, release and outcome.

PostgreSQL counts each run in `workshed.run_counts`, with the statement that records it. A relay
moves the counts into `workshed.run_minutes` and `workshed.run_totals`. Queries add up both, so that
they are right at any moment.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from workshed.database.postgres import Connection, to_jsonb
from workshed.pruning import delete_old_rows
from workshed.value_class import value_class

MOST_GROUPS = 1_000
"""Rows of `run_minutes` of a minute from which on no names are added, so that a flood of made-up
names does not fill the disk."""
OTHER = "other"
MOST_AT_ONCE = 100_000
"""Runs that one statement counts, because PostgreSQL makes a row of each meanwhile."""
MOST_UNMOVED = 300_000
"""Rows of `run_counts` that a page reads: about 15 minutes at 5 000 jobs/s without a relay."""


class RunKind(NamedTuple):
    """What is counted together; the buckets are those of a histogram."""

    actor: str
    queue: str
    outcome: str
    run_bucket: int | None
    wait_bucket: int | None


@value_class
class TimeRange:
    """From `since` until just before `until`, which are whole minutes."""

    since: datetime
    until: datetime


def count_unrecorded(conn: Connection, release: str, counts: Mapping[RunKind, int]) -> None:
    """Count runs of this minute that are not recorded: all of them, or none."""
    with conn.transaction():
        for part in _split_counts(counts):
            query = "SELECT workshed.count_unrecorded_runs(%s, %s)"
            conn.execute(query, (release, to_jsonb(part)))


def _split_counts(counts: Mapping[RunKind, int]) -> Iterator[list[dict[str, Any]]]:
    part: list[dict[str, Any]] = []
    room = MOST_AT_ONCE
    for kind, count in counts.items():
        left = count
        while left:
            taken = min(left, room)
            part.append({**kind._asdict(), "count": taken})
            left -= taken
            room -= taken
            if not room:
                yield part
                part, room = [], MOST_AT_ONCE
    if part:
        yield part


def roll_up(conn: Connection, limit: int) -> int:
    """Move at most `limit` rows, the oldest first; return how many, 0 while another relay does so.

    One statement deletes and adds them, so that each is counted once whatever happens, and no relay
    stands still with a lock. Counts that commit late are added to their minute.
    """
    query = """
        WITH moved AS (
            DELETE FROM workshed.run_counts
             WHERE ctid = ANY (ARRAY(
                   SELECT ctid FROM workshed.run_counts
                    WHERE (SELECT pg_try_advisory_xact_lock(
                                      hashtextextended('workshed.run_counts', 0)))
                    ORDER BY minute
                    LIMIT %(limit)s))
            RETURNING *
        ), crowded AS MATERIALIZED (
            SELECT minute
              FROM workshed.run_minutes
             WHERE minute IN (SELECT minute FROM moved)
             GROUP BY minute
            HAVING count(*) >= %(groups)s
        ), named AS (
            SELECT minute, outcome, count, run_buckets, wait_buckets,
                   CASE WHEN is_kept THEN actor ELSE %(other)s END AS actor,
                   CASE WHEN is_kept THEN queue ELSE %(other)s END AS queue,
                   CASE WHEN is_kept THEN release ELSE '' END AS release
              FROM moved AS n
             CROSS JOIN LATERAL (
                   SELECT n.minute NOT IN (SELECT minute FROM crowded)
                       OR EXISTS (SELECT FROM workshed.run_minutes AS m
                                   WHERE m.minute = n.minute AND m.actor = n.actor
                                     AND m.queue = n.queue AND m.release = n.release
                                     AND m.outcome = n.outcome) AS is_kept) AS choice
        ), summed AS (
            SELECT minute, actor, queue, release, outcome, sum(count) AS runs,
                   NULL::smallint AS run_bucket, NULL::smallint AS wait_bucket,
                   NULL::bigint AS count
              FROM named
             GROUP BY minute, actor, queue, release, outcome
             UNION ALL
            SELECT minute, actor, queue, release, outcome, 0, bucket, NULL, count(*)
              FROM named CROSS JOIN unnest(run_buckets) AS bucket
             GROUP BY minute, actor, queue, release, outcome, bucket
             UNION ALL
            SELECT minute, actor, queue, release, outcome, 0, NULL, bucket, count(*)
              FROM named CROSS JOIN unnest(wait_buckets) AS bucket
             GROUP BY minute, actor, queue, release, outcome, bucket
        ), by_name AS (
            INSERT INTO workshed.run_minutes AS m
                   (minute, actor, queue, release, outcome, count, run_hist, wait_hist)
            SELECT minute, actor, queue, release, outcome, sum(runs),
                   workshed.make_histogram(array_agg(run_bucket), array_agg(count)),
                   workshed.make_histogram(array_agg(wait_bucket), array_agg(count))
              FROM summed
             GROUP BY minute, actor, queue, release, outcome
                ON CONFLICT (minute, actor, queue, release, outcome) DO UPDATE
               SET count = m.count + excluded.count,
                   run_hist = workshed.add_histograms(m.run_hist, excluded.run_hist),
                   wait_hist = workshed.add_histograms(m.wait_hist, excluded.wait_hist)
        ), in_all AS (
            INSERT INTO workshed.run_totals AS t (minute, outcome, count, run_hist, wait_hist)
            SELECT minute, outcome, sum(runs),
                   workshed.make_histogram(array_agg(run_bucket), array_agg(count)),
                   workshed.make_histogram(array_agg(wait_bucket), array_agg(count))
              FROM summed
             GROUP BY minute, outcome
                ON CONFLICT (minute, outcome) DO UPDATE
               SET count = t.count + excluded.count,
                   run_hist = workshed.add_histograms(t.run_hist, excluded.run_hist),
                   wait_hist = workshed.add_histograms(t.wait_hist, excluded.wait_hist)
        )
        SELECT count(*) FROM moved
    """
    values = {"limit": limit, "groups": MOST_GROUPS, "other": OTHER}
    row = conn.execute(query, values).fetchone()
    return 0 if row is None else int(row[0])


def is_behind(conn: Connection, within: TimeRange) -> bool:
    """Return whether too many counts have not been moved yet for a page to add them up."""
    query = """
        SELECT FROM workshed.run_counts
         WHERE minute >= %(since)s AND minute < %(until)s
        OFFSET %(most)s
         LIMIT 1
    """
    values = {"since": within.since, "until": within.until, "most": MOST_UNMOVED}
    return conn.execute(query, values, prepare=False).fetchone() is not None


def count_by_outcome(
    conn: Connection, within: TimeRange, *, actor: str | None = None, queue: str | None = None
) -> dict[str, int]:
    """Count the runs that were recorded within a time, by outcome."""
    of_all = """
        SELECT outcome, sum(count)
          FROM (SELECT minute, outcome, count FROM workshed.run_totals
                 UNION ALL
                SELECT minute, outcome, count FROM workshed.run_counts) AS counted
         WHERE minute >= %(since)s AND minute < %(until)s
         GROUP BY outcome
    """
    of_some = """
        SELECT outcome, sum(count)
          FROM (SELECT minute, actor, queue, outcome, count FROM workshed.run_minutes
                 UNION ALL
                SELECT minute, actor, queue, outcome, count FROM workshed.run_counts) AS counted
         WHERE minute >= %(since)s AND minute < %(until)s
           AND (%(actor)s::text IS NULL OR actor = %(actor)s)
           AND (%(queue)s::text IS NULL OR queue = %(queue)s)
         GROUP BY outcome
    """
    wanted = {"since": within.since, "until": within.until, "actor": actor, "queue": queue}
    query = of_all if actor is None and queue is None else of_some
    return {name: int(count) for name, count in conn.execute(query, wanted, prepare=False)}


def has_other_names(conn: Connection, within: TimeRange) -> bool:
    """Return whether some runs of a time are counted without their names, for there were many."""
    query = """
        SELECT FROM workshed.run_minutes
         WHERE minute >= %(since)s AND minute < %(until)s AND actor = %(other)s
         LIMIT 1
    """
    values = {"since": within.since, "until": within.until, "other": OTHER}
    return conn.execute(query, values, prepare=False).fetchone() is not None


def prune_run_minutes(conn: Connection, older_than: timedelta, limit: int) -> int:
    """Delete at most `limit` old rows of each table; return how many of the one with more."""
    return max(
        delete_old_rows(conn, "workshed.run_minutes", "minute", older_than, limit),
        delete_old_rows(conn, "workshed.run_totals", "minute", older_than, limit),
    )
