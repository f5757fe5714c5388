"""Batches as people read them, and for how long they can."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from psycopg.rows import class_row

from workshed.db import Connection
from workshed.jobs.batches import Event

State = Literal["open", "running", "succeeded", "failed", "cancelling", "cancelled"]


@dataclass(frozen=True, slots=True)
class Progress:
    """A batch, and how many of its jobs are in which state."""

    id: str
    description: str
    created_at: datetime
    closed_at: datetime | None
    cancelled_at: datetime | None
    died_at: datetime | None
    """When the first of its jobs died."""
    completed_at: datetime | None
    """When all of its jobs had ended, for the first time."""
    succeeded_at: datetime | None
    pending: int
    succeeded: int
    discarded: int
    cancelled: int
    dead: int

    @property
    def total(self) -> int:
        """How many jobs it has."""
        return self.pending + self.ended

    @property
    def ended(self) -> int:
        """How many of them have come to an end, whichever."""
        return self.succeeded + self.discarded + self.cancelled + self.dead

    @property
    def state(self) -> State:
        """Where it is, in one word; `failed`: all have ended, and not all have succeeded."""
        if self.cancelled_at is not None:
            return "cancelling" if self.pending else "cancelled"
        if self.closed_at is None:
            return "open"
        if self.pending:
            return "running"
        return "failed" if self.succeeded_at is None else "succeeded"


@dataclass(frozen=True, slots=True)
class Callback:
    """What is sent at an event of a batch; the id is that of its job."""

    event: Event
    message_id: str
    actor: str
    sent_at: datetime | None


@dataclass(frozen=True, slots=True)
class Member:
    """That a job is in a batch, and what has become of it there."""

    batch: str
    state: Literal["pending", "succeeded", "discarded", "cancelled", "dead"]
    ended_at: datetime | None


def of_job(conn: Connection, message_id: str) -> Member | None:
    """Return the batch that a job is in."""
    query = """
        SELECT batch_id::text AS batch, state, ended_at
          FROM jobs.batch_jobs
         WHERE message_id = %s
    """
    with conn.cursor(row_factory=class_row(Member)) as cur:
        return cur.execute(query, (message_id,)).fetchone()


def progress(conn: Connection, batch: str) -> Progress | None:
    """Return a batch and its counts, which are of one moment."""
    return next(iter(find(conn, batch=batch)), None)


def find(
    conn: Connection, *, batch: str | None = None, unfinished: bool = False, limit: int = 100
) -> list[Progress]:
    """Return batches with their counts, the latest first, or the one of that id.

    `unfinished` are those that have not succeeded.
    """
    query = """
        SELECT b.id::text, b.description, b.created_at, b.closed_at, b.cancelled_at, b.died_at,
               b.completed_at, b.succeeded_at, c.*
          FROM (SELECT *
                  FROM jobs.batches
                 WHERE (%(batch)s::uuid IS NULL OR id = %(batch)s::uuid)
                   AND (NOT %(unfinished)s OR (succeeded_at IS NULL
                        AND (cancelled_at IS NULL OR completed_at IS NULL)))
                 ORDER BY created_at DESC, id
                 LIMIT %(limit)s) AS b
         CROSS JOIN LATERAL (
               SELECT count(*) FILTER (WHERE state = 'pending') AS pending,
                      count(*) FILTER (WHERE state = 'succeeded') AS succeeded,
                      count(*) FILTER (WHERE state = 'discarded') AS discarded,
                      count(*) FILTER (WHERE state = 'cancelled') AS cancelled,
                      count(*) FILTER (WHERE state = 'dead') AS dead
                 FROM jobs.batch_jobs AS j
                WHERE j.batch_id = b.id) AS c
         ORDER BY b.created_at DESC, b.id
    """
    values = {"batch": batch, "unfinished": unfinished, "limit": limit}
    with conn.cursor(row_factory=class_row(Progress)) as cur:
        return cur.execute(query, values).fetchall()


def callbacks(conn: Connection, batch: str) -> list[Callback]:
    """Return what is sent at the events of a batch, or was."""
    query = """
        SELECT event, message_id, actor, sent_at
          FROM jobs.batch_callbacks
         WHERE batch_id = %s::uuid
         ORDER BY array_position(ARRAY['death', 'complete', 'success'], event)
    """
    with conn.cursor(row_factory=class_row(Callback)) as cur:
        return cur.execute(query, (batch,)).fetchall()


def dead(conn: Connection, batch: str) -> list[str]:
    """Return the ids of the jobs of a batch that died, who died first first."""
    query = """
        SELECT message_id
          FROM jobs.batch_jobs
         WHERE batch_id = %s::uuid AND state = 'dead'
         ORDER BY ended_at, message_id
    """
    return [message_id for (message_id,) in conn.execute(query, (batch,))]


def prune(conn: Connection, older_than: timedelta, limit: int) -> int:
    """Delete batches that were complete long ago, at most `limit` rows; return how many.

    One of which a job runs again, or may still be retried, stays. Its jobs go first, so that a
    batch that is gone leaves nothing.
    """
    jobs = """
        DELETE FROM jobs.batch_jobs
         WHERE message_id IN (
               SELECT j.message_id
                 FROM jobs.batches AS b
                 JOIN jobs.batch_jobs AS j ON j.batch_id = b.id
                WHERE b.completed_at < jobs.now() - %(older_than)s
                  AND NOT EXISTS (
                      SELECT FROM jobs.batch_jobs AS p
                       WHERE p.batch_id = b.id AND p.state = 'pending')
                  AND NOT EXISTS (
                      SELECT FROM jobs.batch_jobs AS d
                        JOIN jobs.dead ON dead.message_id = d.message_id
                       WHERE d.batch_id = b.id AND d.state = 'dead')
                LIMIT %(limit)s
                  FOR UPDATE OF j SKIP LOCKED)
    """
    batches = """
        WITH gone AS (
            DELETE FROM jobs.batches
             WHERE id IN (
                   SELECT id
                     FROM jobs.batches AS b
                    WHERE completed_at < jobs.now() - %(older_than)s
                      AND NOT EXISTS (SELECT FROM jobs.batch_jobs WHERE batch_id = b.id)
                    LIMIT %(limit)s
                      FOR UPDATE SKIP LOCKED)
            RETURNING id
        ), callbacks AS (
            DELETE FROM jobs.batch_callbacks USING gone WHERE batch_id = gone.id
        )
        SELECT FROM gone
    """
    deleted = conn.execute(jobs, {"older_than": older_than, "limit": limit}).rowcount
    values = {"older_than": older_than, "limit": limit - deleted}
    return deleted + conn.execute(batches, values).rowcount
