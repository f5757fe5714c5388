"""Rows of the schedule that a worker claims, runs and deletes itself, without RabbitMQ."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from workshed.database.postgres import Connection, class_row
from workshed.jobs.outbox import claims
from workshed.jobs.outbox.relays import DEAD_AFTER
from workshed.value_class import state_class, value_class

BATCH = 1_000


@value_class
class QueueRoom:
    """How many more jobs of a queue a worker may hold."""

    queue: str
    room: int
    highest_priority: int
    since: datetime | None = None
    """Excludes rows that were due earlier; see `claims.claim_due`."""


@state_class
class RowClaim:
    """One claim of a row: if it still holds, its worker stores the outcome and deletes the row.

    The time is part of it, because the same worker may claim a row again that it has lost.
    """

    worker: UUID
    message_id: str
    generation: int
    claimed_at: datetime
    is_lost: bool = False
    """It was found that the claim does not hold any more."""

    def end(self, conn: Connection) -> bool:
        """Delete the row with the outcome; False if another claim has it, or has ended it."""
        query = """
            DELETE FROM workshed.schedule
             WHERE message_id = %s AND generation = %s AND claimed_by = %s AND claimed_at = %s
        """
        values = (self.message_id, self.generation, self.worker, self.claimed_at)
        self.is_lost = conn.execute(query, values).rowcount == 0
        return not self.is_lost


@value_class
class TakenRow:
    """A row that a worker has just claimed."""

    message_id: str
    generation: int
    queue: str
    body: str
    due_at: datetime
    possible_duplicate: bool
    """It may have been started before."""
    claimed_at: datetime


def reuse_plans(conn: Connection) -> None:
    """Prepare the connection of a worker that claims: as `claims.use_indexes`, and plan only once.

    PostgreSQL would plan each claim again, which takes longer than the claim, because it expects
    more of a plan for known values. With indexes and positions only, there is no other plan.
    """
    claims.use_indexes(conn)
    if not getattr(conn, "is_pooled", False):
        conn.execute("SET plan_cache_mode = force_generic_plan")


def claim_ready(conn: Connection, worker: UUID, rooms: Sequence[QueueRoom]) -> list[TakenRow]:
    """Claim the next due rows of each queue: those with the highest priority, longest due first.

    Reads each level of priority by itself, because within one the due rows come before the later
    ones: a million delayed jobs cost nothing.
    """
    query = """
        WITH taken AS (
            UPDATE workshed.schedule
               SET claimed_by = %(worker)s, claimed_at = workshed.now(),
                   -- The sender of a lease may have published it and died.
                   possible_duplicate = possible_duplicate OR reason = 'outbox_lease'
             WHERE ctid = ANY (ARRAY(
                   SELECT ready.place
                     FROM unnest(%(queues)s::text[], %(rooms)s::int[], %(highest)s::int[],
                                 %(since)s::timestamptz[]) AS q (name, room, highest, since)
                    CROSS JOIN LATERAL (
                          SELECT due.place
                            FROM generate_series(q.highest, 0, -1) AS level
                           CROSS JOIN LATERAL (
                                 SELECT ctid AS place
                                   FROM workshed.schedule
                                  WHERE queue = q.name AND priority = level
                                    AND claimed_by IS NULL AND sent_at IS NULL
                                    AND due_at >= COALESCE(q.since, '-infinity')
                                    AND due_at <= workshed.now()
                                  ORDER BY due_at
                                  LIMIT q.room
                                    FOR UPDATE SKIP LOCKED) AS due
                           LIMIT q.room) AS ready))
            RETURNING message_id, generation, queue, body, due_at, possible_duplicate, claimed_at,
                      priority
        )
        SELECT message_id, generation, queue, body, due_at, possible_duplicate, claimed_at
          FROM taken
         ORDER BY priority DESC, due_at
    """
    values = {
        "worker": worker,
        "queues": [one.queue for one in rooms],
        "rooms": [one.room for one in rooms],
        "highest": [one.highest_priority for one in rooms],
        "since": [one.since for one in rooms],
    }
    with conn.cursor(row_factory=class_row(TakenRow)) as cur:
        return cur.execute(query, values).fetchall()


def lower_priorities(conn: Connection, rooms: Sequence[QueueRoom]) -> int:
    """Give rows above the highest priority of their queue that priority; return how many."""
    query = """
        UPDATE workshed.schedule
           SET priority = (
               SELECT highest
                 FROM unnest(%(queues)s::text[], %(highest)s::int[]) AS q (name, highest)
                WHERE name = queue)
         WHERE ctid = ANY (ARRAY(
               SELECT above.place
                 FROM unnest(%(queues)s::text[], %(highest)s::int[]) AS q (name, highest)
                CROSS JOIN LATERAL (
                      SELECT ctid AS place
                        FROM workshed.schedule
                       WHERE queue = q.name AND priority > q.highest
                         AND claimed_by IS NULL AND sent_at IS NULL
                       LIMIT %(limit)s
                         FOR UPDATE SKIP LOCKED) AS above))
    """
    values = {
        "queues": [one.queue for one in rooms],
        "highest": [one.highest_priority for one in rooms],
        "limit": BATCH,
    }
    return conn.execute(query, values).rowcount


def delete_ended(conn: Connection, ended: Sequence[RowClaim]) -> int:
    """Delete rows of jobs whose outcome is stored, if these claims hold; return how many."""
    query = """
        DELETE FROM workshed.schedule
         WHERE ctid = ANY (ARRAY(
               SELECT (SELECT ctid
                         FROM workshed.schedule AS s
                        WHERE s.message_id = e.message_id AND s.generation = e.generation
                          AND s.claimed_at = e.claimed_at)
                 FROM unnest(%(ids)s::text[], %(generations)s::int[], %(times)s::timestamptz[])
                   AS e (message_id, generation, claimed_at)))
           AND (claimed_by = %(worker)s) IS TRUE  -- not by its index: that holds what is gone
    """
    return conn.execute(query, _values(ended)).rowcount if ended else 0


def release_claimed(conn: Connection, row_claims: Sequence[RowClaim], *, started: bool) -> int:
    """Release rows for any worker to take, if these claims hold; return how many.

    `started`: whether their jobs were started, so that the next delivery is a repeat.
    """
    query = """
        UPDATE workshed.schedule
           SET claimed_by = NULL, claimed_at = NULL,
               possible_duplicate = possible_duplicate OR %(started)s
         WHERE ctid = ANY (ARRAY(
               SELECT (SELECT ctid
                         FROM workshed.schedule AS s
                        WHERE s.message_id = h.message_id AND s.generation = h.generation
                          AND s.claimed_at = h.claimed_at)
                 FROM unnest(%(ids)s::text[], %(generations)s::int[], %(times)s::timestamptz[])
                   AS h (message_id, generation, claimed_at)))
           AND (claimed_by = %(worker)s) IS TRUE
    """
    values = {**_values(row_claims), "started": started}
    return conn.execute(query, values).rowcount if row_claims else 0


def release_forgotten(conn: Connection, worker: UUID, known: Sequence[RowClaim]) -> int:
    """Release the rows of a worker for which it has no claim; return how many.

    The answer to a claim was lost with the connection.
    """
    query = """
        UPDATE workshed.schedule
           SET claimed_by = NULL, claimed_at = NULL, possible_duplicate = true
         WHERE claimed_by = %(worker)s
           AND (message_id, generation, claimed_at) NOT IN (
               SELECT * FROM unnest(%(ids)s::text[], %(generations)s::int[],
                                    %(times)s::timestamptz[]))
    """
    return conn.execute(query, {**_values(known), "worker": worker}).rowcount


def release_orphaned(conn: Connection, limit: int = BATCH) -> int:
    """Release rows of dead processes, marked as possible duplicates; return how many."""
    query = """
        UPDATE workshed.schedule
           SET claimed_by = NULL, claimed_at = NULL, possible_duplicate = true
         WHERE ctid = ANY (ARRAY(
               SELECT ctid
                 FROM workshed.schedule
                WHERE claimed_by IS NOT NULL
                  AND claimed_at < workshed.now() - %(dead_after)s
                  AND NOT EXISTS (
                      SELECT FROM workshed.relays
                       WHERE relays.id = schedule.claimed_by
                         AND relays.beat_at >= workshed.now() - %(dead_after)s)
                  AND NOT EXISTS (
                      SELECT FROM workshed.workers
                       WHERE workers.id = schedule.claimed_by
                         AND workers.beat_at >= workshed.now() - %(dead_after)s)
                LIMIT %(limit)s
                  FOR UPDATE SKIP LOCKED))
    """
    return conn.execute(query, {"limit": limit, "dead_after": DEAD_AFTER}).rowcount


def _values(row_claims: Sequence[RowClaim]) -> dict[str, object]:
    """Return the values of claims, which are all of one worker."""
    return {
        "worker": row_claims[0].worker if row_claims else None,
        "ids": [one.message_id for one in row_claims],
        "generations": [one.generation for one in row_claims],
        "times": [one.claimed_at for one in row_claims],
    }
