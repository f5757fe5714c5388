"""Runs of periodic jobs: what created each, and what was sent."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Literal

from workshed.cronspec import LONGEST_WINDOW
from workshed.database.postgres import Connection, class_row
from workshed.pruning import delete_old_rows
from workshed.value_class import value_class

Creator = Literal["clock", "catch_up", "manual"]
"""The clock of a `periodiq`, a relay that catches up, or an operator."""


@value_class
class PeriodicRun:
    """A row of `workshed.periodic_runs`."""

    job: str
    scheduled_for: datetime
    message_id: str | None
    blocked_by: str | None
    """If nothing was sent: the job that had its unique key."""
    created_by: Creator
    created_at: datetime


def create_run(
    conn: Connection, job: str, scheduled_for: datetime, by: Creator
) -> PeriodicRun | None:
    """Create a run of a declared job, which a relay sends; `None` if it was created already."""
    query = "SELECT * FROM workshed.create_periodic_run(%s, %s, %s) WHERE job IS NOT NULL"
    with conn.cursor(row_factory=class_row(PeriodicRun)) as cur:
        return cur.execute(query, (job, scheduled_for, by)).fetchone()


def create_run_now(conn: Connection, job: str) -> PeriodicRun | None:
    """Create a run manually, scheduled for now."""
    query = """
        SELECT *
          FROM workshed.create_periodic_run(%s, date_trunc('milliseconds', workshed.now()),
                                            'manual')
         WHERE job IS NOT NULL
    """
    with conn.cursor(row_factory=class_row(PeriodicRun)) as cur:
        return cur.execute(query, (job,)).fetchone()


def latest_runs(conn: Connection) -> dict[str, PeriodicRun]:
    """Return the latest run of each job."""
    query = """
        SELECT o.*
          FROM (SELECT name FROM workshed.periodic_jobs) AS r
         CROSS JOIN LATERAL (
               SELECT job, scheduled_for, message_id, blocked_by, created_by, created_at
                 FROM workshed.periodic_runs
                WHERE job = r.name
                ORDER BY scheduled_for DESC
                LIMIT 1) AS o
    """
    with conn.cursor(row_factory=class_row(PeriodicRun)) as cur:
        return {one.job: one for one in cur.execute(query)}


def outcomes_of(
    conn: Connection, runs: Iterable[PeriodicRun], remembered_for: timedelta
) -> dict[str, str]:
    """Return the outcomes of runs by message ID, as far as the rows of their jobs show.

    Runs created longer ago than `remembered_for` without such rows are left out, as unknown.
    """
    query = """
        SELECT wanted.id,
               CASE
                   WHEN EXISTS (SELECT FROM workshed.dead WHERE message_id = wanted.id) THEN 'dead'
                   WHEN s.reason = 'retry' THEN 'retry'
                   WHEN s.message_id IS NOT NULL THEN 'scheduled'
                   WHEN f.message_id IS NULL THEN 'on its way'
                   WHEN a.outcome = 'retry' THEN 'on its way'
                   WHEN a.outcome IS NOT NULL THEN a.outcome
                   ELSE 'succeeded'
               END
          FROM unnest(%(ids)s::text[], %(made)s::timestamptz[]) AS wanted (id, created_at)
          LEFT JOIN LATERAL (SELECT message_id, reason FROM workshed.schedule
                              WHERE message_id = wanted.id
                              ORDER BY generation DESC LIMIT 1) AS s ON true
          LEFT JOIN workshed.completed_generations AS f ON f.message_id = wanted.id
          LEFT JOIN LATERAL (SELECT outcome FROM workshed.attempts
                              WHERE message_id = wanted.id AND generation = f.generation
                              ORDER BY id DESC LIMIT 1) AS a ON true
         WHERE f.message_id IS NOT NULL OR wanted.created_at > workshed.now() - %(remembered)s
    """
    sent = [one for one in runs if one.message_id is not None]
    values = {
        "ids": [one.message_id for one in sent],
        "made": [one.created_at for one in sent],
        "remembered": remembered_for,
    }
    return dict(conn.execute(query, values).fetchall())


def prune_periodic_runs(conn: Connection, older_than: timedelta, limit: int) -> int:
    """Delete old runs except the latest of each known job, at most `limit`; return how many.

    Keeps runs for at least the longest misfire window, because a run's row prevents a second one.
    """
    older_than = max(older_than, LONGEST_WINDOW)
    is_needless = """
        (EXISTS (SELECT FROM workshed.periodic_runs
                  WHERE job = t.job AND scheduled_for > t.scheduled_for)
         OR NOT EXISTS (SELECT FROM workshed.periodic_jobs WHERE name = t.job))
    """
    table = "workshed.periodic_runs"
    return delete_old_rows(conn, table, "scheduled_for", older_than, limit, is_needless)
