"""Each time that a run of a periodic job was made: by whom, and what was sent."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from psycopg.rows import class_row

from workshed.cronspec import LONGEST_WINDOW
from workshed.db import Connection

Maker = Literal["clock", "sweeper", "hand"]


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A row of `jobs.occurrences`."""

    job: str
    planned: datetime
    message_id: str | None
    held_by: str | None
    """Nothing was sent: this job had its unique key."""
    made_by: Maker
    made_at: datetime


def make(conn: Connection, job: str, planned: datetime, by: Maker) -> Occurrence | None:
    """Make one run of a declared job, whose message a relay sends; `None` where somebody did."""
    query = "SELECT * FROM jobs.make_run(%s, %s, %s) WHERE job IS NOT NULL"
    with conn.cursor(row_factory=class_row(Occurrence)) as cur:
        return cur.execute(query, (job, planned, by)).fetchone()


def make_now(conn: Connection, job: str) -> Occurrence | None:
    """Make a run by hand, planned for this moment."""
    query = """
        SELECT *
          FROM jobs.make_run(%s, date_trunc('milliseconds', jobs.now()), 'hand')
         WHERE job IS NOT NULL
    """
    with conn.cursor(row_factory=class_row(Occurrence)) as cur:
        return cur.execute(query, (job,)).fetchone()


def last(conn: Connection) -> dict[str, Occurrence]:
    """Return the latest occurrence of each job."""
    query = """
        SELECT o.*
          FROM (SELECT name FROM jobs.recurring) AS r
         CROSS JOIN LATERAL (
               SELECT job, planned, message_id, held_by, made_by, made_at
                 FROM jobs.occurrences
                WHERE job = r.name
                ORDER BY planned DESC
                LIMIT 1) AS o
    """
    with conn.cursor(row_factory=class_row(Occurrence)) as cur:
        return {one.job: one for one in cur.execute(query)}


def outcomes(conn: Connection, made: Iterable[Occurrence], fences: timedelta) -> dict[str, str]:
    """Return what became of runs, by message id, as far as rows about their jobs say.

    One that was made longer ago than `fences` are kept, and has none, is left out: nobody knows.
    """
    query = """
        SELECT wanted.id,
               CASE
                   WHEN EXISTS (SELECT FROM jobs.dead WHERE message_id = wanted.id) THEN 'dead'
                   WHEN s.reason = 'retry' THEN 'failed, tries again'
                   WHEN s.message_id IS NOT NULL THEN 'waits'
                   WHEN f.message_id IS NULL THEN 'on its way'
                   WHEN a.outcome = 'retried' THEN 'on its way'
                   WHEN a.outcome IS NOT NULL THEN a.outcome
                   ELSE 'done'
               END
          FROM unnest(%(ids)s::text[], %(made)s::timestamptz[]) AS wanted (id, made_at)
          LEFT JOIN LATERAL (SELECT message_id, reason FROM jobs.schedule
                              WHERE message_id = wanted.id
                              ORDER BY hop DESC LIMIT 1) AS s ON true
          LEFT JOIN jobs.settled AS f ON f.message_id = wanted.id
          LEFT JOIN LATERAL (SELECT outcome FROM jobs.attempts
                              WHERE message_id = wanted.id AND hop = f.hop
                              ORDER BY id DESC LIMIT 1) AS a ON true
         WHERE f.message_id IS NOT NULL OR wanted.made_at > jobs.now() - %(remembered)s
    """
    sent = [one for one in made if one.message_id is not None]
    values = {
        "ids": [one.message_id for one in sent],
        "made": [one.made_at for one in sent],
        "remembered": fences,
    }
    return dict(conn.execute(query, values).fetchall())


def prune(conn: Connection, older_than: timedelta, limit: int) -> int:
    """Delete old ones but the latest of each job that is known, at most `limit`; return how many.

    What may still be made late is kept for longer than that: its row is why it is made once.
    """
    query = """
        DELETE FROM jobs.occurrences
         WHERE (job, planned) IN (
               SELECT job, planned FROM jobs.occurrences AS o
                WHERE planned < jobs.now() - %(older_than)s
                  AND (EXISTS (SELECT FROM jobs.occurrences
                                WHERE job = o.job AND planned > o.planned)
                       OR NOT EXISTS (SELECT FROM jobs.recurring WHERE name = o.job))
                ORDER BY planned
                LIMIT %(limit)s
                  FOR UPDATE SKIP LOCKED)
    """
    older_than = max(older_than, LONGEST_WINDOW)
    return conn.execute(query, {"older_than": older_than, "limit": limit}).rowcount
