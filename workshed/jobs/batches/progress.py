"""Progress of batches, for people, and the deletion of old ones."""

from datetime import datetime, timedelta
from typing import Literal, get_args
from uuid import UUID

from workshed.database.postgres import Connection, class_row
from workshed.jobs.batches.batches import BatchEvent
from workshed.value_class import value_class

BatchState = Literal["open", "running", "succeeded", "failed", "cancelling", "cancelled"]
BatchJobState = Literal["pending", "succeeded", "discarded", "cancelled", "dead"]


@value_class
class BatchProgress:
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
        """How many of them have ended, in any state."""
        return self.succeeded + self.discarded + self.cancelled + self.dead

    @property
    def state(self) -> BatchState:
        """Its state in one word; `failed`: all jobs have ended, but not all have succeeded."""
        if self.cancelled_at is not None:
            return "cancelling" if self.pending else "cancelled"
        if self.closed_at is None:
            return "open"
        if self.pending:
            return "running"
        return "failed" if self.succeeded_at is None else "succeeded"


@value_class
class BatchCallback:
    """The job that is sent at an event of a batch, and its message ID."""

    event: BatchEvent
    message_id: str
    actor: str
    sent_at: datetime | None


@value_class
class BatchMembership:
    """The batch of a job, and the job's state in it."""

    batch: str
    state: BatchJobState
    ended_at: datetime | None


def get_membership(conn: Connection, message_id: str) -> BatchMembership | None:
    """Return the batch that a job is in."""
    query = """
        SELECT batch_id::text AS batch, state, ended_at
          FROM workshed.batch_jobs
         WHERE message_id = %s
    """
    with conn.cursor(row_factory=class_row(BatchMembership)) as cur:
        return cur.execute(query, (message_id,)).fetchone()


@value_class
class BatchJob:
    """A job of a batch, with fields from other tables."""

    message_id: str
    state: BatchJobState
    ended_at: datetime | None
    actor: str | None
    due_at: datetime | None
    """When it is due, if it waits."""
    reason: str | None
    """Why it is dead, if it is."""


def get_progress(conn: Connection, batch: str) -> BatchProgress | None:
    """Return a batch and its counts, all read at one moment."""
    return next(iter(list_batches(conn, batch=batch)), None)


def list_batches(
    conn: Connection,
    *,
    batch: str | None = None,
    unfinished: bool = False,
    before: tuple[datetime, UUID] | None = None,
    counted: int | None = None,
    limit: int = 100,
) -> list[BatchProgress]:
    """Return batches with their counts, latest first, or the one with that ID.

    `unfinished`: only those that have not succeeded. `before`: only those before this `created_at`
    and `id`. `counted`: count at most this many jobs per state, because a batch may be large.
    """
    query = """
        SELECT b.id::text, b.description, b.created_at, b.closed_at, b.cancelled_at, b.died_at,
               b.completed_at, b.succeeded_at, c.*
          FROM (SELECT *
                  FROM workshed.batches
                 WHERE (%(batch)s::uuid IS NULL OR id = %(batch)s::uuid)
                   AND (NOT %(unfinished)s OR (succeeded_at IS NULL
                        AND (cancelled_at IS NULL OR completed_at IS NULL)))
                   AND (%(created_at)s::timestamptz IS NULL
                        OR (created_at, id) < (%(created_at)s, %(id)s))
                 ORDER BY created_at DESC, id DESC
                 LIMIT %(limit)s) AS b
         CROSS JOIN LATERAL (
               SELECT max(n) FILTER (WHERE state = 'pending') AS pending,
                      max(n) FILTER (WHERE state = 'succeeded') AS succeeded,
                      max(n) FILTER (WHERE state = 'discarded') AS discarded,
                      max(n) FILTER (WHERE state = 'cancelled') AS cancelled,
                      max(n) FILTER (WHERE state = 'dead') AS dead
                 FROM unnest(%(states)s::text[]) AS s (state)
                CROSS JOIN LATERAL (
                      SELECT count(*) AS n
                        FROM (SELECT
                                FROM workshed.batch_jobs
                               WHERE batch_id = b.id AND state = s.state
                               LIMIT %(counted)s) AS j) AS of_state) AS c
         ORDER BY b.created_at DESC, b.id DESC
    """
    created_at, batch_id = before or (None, None)
    values = {
        "batch": batch,
        "unfinished": unfinished,
        "created_at": created_at,
        "id": batch_id,
        "states": list(get_args(BatchJobState)),
        "counted": counted,
        "limit": limit,
    }
    with conn.cursor(row_factory=class_row(BatchProgress)) as cur:
        return cur.execute(query, values).fetchall()


def list_callbacks(conn: Connection, batch: str) -> list[BatchCallback]:
    """Return the callbacks of a batch, sent or not."""
    query = """
        SELECT event, message_id, actor, sent_at
          FROM workshed.batch_callbacks
         WHERE batch_id = %s::uuid
         ORDER BY array_position(ARRAY['death', 'complete', 'success'], event)
    """
    with conn.cursor(row_factory=class_row(BatchCallback)) as cur:
        return cur.execute(query, (batch,)).fetchall()


def list_dead_ids(conn: Connection, batch: str, limit: int | None = None) -> list[str]:
    """Return the IDs of the dead jobs of a batch, oldest death first."""
    query = """
        SELECT message_id
          FROM workshed.batch_jobs
         WHERE batch_id = %s::uuid AND state = 'dead'
         ORDER BY ended_at, message_id
         LIMIT %s
    """
    return [message_id for (message_id,) in conn.execute(query, (batch, limit))]


def list_batch_jobs(
    conn: Connection,
    batch: str,
    *,
    state: str | None = None,
    after: tuple[str, str] | None = None,
    limit: int = 100,
) -> list[BatchJob]:
    """Return jobs of a batch in order of state and ID; only those after `after`, if given."""
    query = """
        SELECT j.message_id, j.state, j.ended_at, COALESCE(s.actor, d.actor, r.actor) AS actor,
               s.due_at, d.reason
          FROM (SELECT message_id, state, ended_at
                  FROM workshed.batch_jobs
                 WHERE batch_id = %(batch)s::uuid
                   AND (%(state)s::text IS NULL OR state = %(state)s)
                   AND (%(after_state)s::text IS NULL
                        OR (state, message_id) > (%(after_state)s, %(after_id)s))
                 ORDER BY state, message_id
                 LIMIT %(limit)s) AS j
          LEFT JOIN LATERAL (SELECT actor, due_at FROM workshed.schedule
                              WHERE message_id = j.message_id AND sent_at IS NULL
                              ORDER BY generation DESC LIMIT 1) AS s ON true
          LEFT JOIN workshed.dead AS d ON d.message_id = j.message_id
          LEFT JOIN LATERAL (SELECT actor FROM workshed.runs
                              WHERE message_id = j.message_id
                              ORDER BY id DESC LIMIT 1) AS r ON true
         ORDER BY j.state, j.message_id
    """
    after_state, after_id = after or (None, None)
    values = {
        "batch": batch,
        "state": state,
        "after_state": after_state,
        "after_id": after_id,
        "limit": limit,
    }
    with conn.cursor(row_factory=class_row(BatchJob)) as cur:
        return cur.execute(query, values).fetchall()


def prune_batches(conn: Connection, older_than: timedelta, limit: int) -> int:
    """Delete batches that completed long ago, at most `limit` rows; return how many.

    Keeps batches with a job that runs again or can still be retried. Jobs are deleted first, so
    that a deleted batch leaves nothing behind.
    """
    jobs = """
        DELETE FROM workshed.batch_jobs
         WHERE message_id = ANY (ARRAY(
               SELECT j.message_id
                 FROM workshed.batches AS b
                 JOIN workshed.batch_jobs AS j ON j.batch_id = b.id
                WHERE b.completed_at < workshed.now() - %(older_than)s
                  AND NOT EXISTS (
                      SELECT FROM workshed.batch_jobs AS p
                       WHERE p.batch_id = b.id AND p.state = 'pending')
                  AND NOT EXISTS (
                      SELECT FROM workshed.batch_jobs AS d
                        JOIN workshed.dead ON dead.message_id = d.message_id
                       WHERE d.batch_id = b.id AND d.state = 'dead')
                LIMIT %(limit)s
                  FOR UPDATE OF j SKIP LOCKED))
    """
    batches = """
        WITH gone AS (
            DELETE FROM workshed.batches
             WHERE id = ANY (ARRAY(
                   SELECT id
                     FROM workshed.batches AS b
                    WHERE completed_at < workshed.now() - %(older_than)s
                      AND NOT EXISTS (SELECT FROM workshed.batch_jobs WHERE batch_id = b.id)
                    LIMIT %(limit)s
                      FOR UPDATE SKIP LOCKED))
            RETURNING id
        ), callbacks AS (
            DELETE FROM workshed.batch_callbacks USING gone WHERE batch_id = gone.id
        )
        SELECT FROM gone
    """
    deleted = conn.execute(jobs, {"older_than": older_than, "limit": limit}).rowcount
    values = {"older_than": older_than, "limit": limit - deleted}
    return deleted + conn.execute(batches, values).rowcount
