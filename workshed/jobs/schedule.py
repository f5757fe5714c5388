"""The table of every message that is not on RabbitMQ yet."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from psycopg.rows import class_row

from workshed.db import Connection

Reason = Literal["send", "delay", "retry", "snooze"]

DEAD_AFTER = timedelta(seconds=10)
"""A relay that has not beaten for this long has died; what it took may be taken again."""


@dataclass(frozen=True, slots=True)
class Row:
    """A message and when it is due. `body` is its JSON, as it will travel."""

    message_id: str
    hop: int
    queue: str
    actor: str
    body: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class Taken:
    """A row that a relay has marked as its own."""

    message_id: str
    hop: int
    queue: str
    body: str
    again: bool
    """It was taken before, by a relay that may have published it."""


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A row as people read it."""

    message_id: str
    hop: int
    queue: str
    actor: str
    body: str
    reason: Reason
    due_at: datetime
    taken: bool


def insert(
    conn: Connection, row: Row, *, delay: timedelta = timedelta(), at: datetime | None = None
) -> None:
    """Store a message that is due at `at`, or after `delay`.

    Raises `psycopg.errors.UniqueViolation` when this hop of the message is stored already.
    """
    query = """
        INSERT INTO jobs.schedule (message_id, hop, queue, actor, body, reason, due_at)
        VALUES (%(message_id)s, %(hop)s, %(queue)s, %(actor)s, %(body)s, %(reason)s,
                COALESCE(%(at)s, jobs.now() + %(delay)s))
    """
    values = {
        "message_id": row.message_id,
        "hop": row.hop,
        "queue": row.queue,
        "actor": row.actor,
        "body": row.body,
        "reason": row.reason,
        "at": at,
        "delay": delay,
    }
    conn.execute(query, values)


def take(conn: Connection, relay: UUID, limit: int) -> list[Taken]:
    """Mark the next due rows as this relay's own and return them, the longest due first.

    Rows of a relay that died come again, marked, since it may have published them.
    """
    query = """
        WITH free AS (
            SELECT message_id, hop, due_at, false AS again
              FROM jobs.schedule
             WHERE taken_by IS NULL AND due_at <= jobs.now()
             ORDER BY due_at
             LIMIT %(limit)s
               FOR UPDATE SKIP LOCKED
        ), orphaned AS (
            SELECT message_id, hop, due_at, true AS again
              FROM jobs.schedule
             WHERE taken_by IS NOT NULL
               AND taken_at < jobs.now() - %(dead_after)s
               AND NOT EXISTS (
                   SELECT FROM jobs.relays
                    WHERE relays.id = schedule.taken_by
                      AND relays.beat_at >= jobs.now() - %(dead_after)s)
             LIMIT %(limit)s
               FOR UPDATE SKIP LOCKED
        ), due AS (
            SELECT * FROM free UNION ALL SELECT * FROM orphaned
        ), taken AS (
            UPDATE jobs.schedule AS s
               SET taken_by = %(relay)s, taken_at = jobs.now()
              FROM due
             WHERE s.message_id = due.message_id AND s.hop = due.hop
            RETURNING s.message_id, s.hop, s.queue, s.body, due.again, s.due_at
        )
        SELECT message_id, hop, queue, body, again FROM taken ORDER BY due_at
    """
    values = {"relay": relay, "limit": limit, "dead_after": DEAD_AFTER}
    with conn.cursor(row_factory=class_row(Taken)) as cur:
        return cur.execute(query, values).fetchall()


def sent(conn: Connection, relay: UUID, rows: Sequence[Taken]) -> int:
    """Delete what RabbitMQ confirmed, where it is still this relay's; return how many."""
    query = """
        DELETE FROM jobs.schedule AS s
         USING unnest(%(ids)s::text[], %(hops)s::int[]) AS done (message_id, hop)
         WHERE s.message_id = done.message_id AND s.hop = done.hop
           AND (s.taken_by = %(relay)s) IS TRUE  -- not by its index: the key finds each row
    """
    return conn.execute(query, _keys(relay, rows)).rowcount


def put_back(conn: Connection, relay: UUID, rows: Sequence[Taken], delay: timedelta) -> int:
    """Free what RabbitMQ did not take, to be tried again after `delay`; return how many."""
    query = """
        UPDATE jobs.schedule AS s
           SET taken_by = NULL, taken_at = NULL, due_at = jobs.now() + %(delay)s
          FROM unnest(%(ids)s::text[], %(hops)s::int[]) AS failed (message_id, hop)
         WHERE s.message_id = failed.message_id AND s.hop = failed.hop AND s.taken_by = %(relay)s
    """
    return conn.execute(query, {**_keys(relay, rows), "delay": delay}).rowcount


def next_due(conn: Connection) -> timedelta | None:
    """Return how long until the next row is due; `None` when nothing waits."""
    query = "SELECT min(due_at) - jobs.now() FROM jobs.schedule WHERE taken_by IS NULL"
    found = conn.execute(query).fetchone()
    wait: timedelta | None = found[0] if found else None
    return wait


def cancel(conn: Connection, message_id: str) -> bool:
    """Delete a message that waits; False when none does, or it is on its way already."""
    query = "DELETE FROM jobs.schedule WHERE message_id = %s AND taken_by IS NULL"
    return conn.execute(query, (message_id,)).rowcount > 0


def find(conn: Connection, *, actor: str | None = None, limit: int = 100) -> list[Scheduled]:
    """Return what waits, the next due first."""
    query = """
        SELECT message_id, hop, queue, actor, body, reason, due_at, taken_by IS NOT NULL AS taken
          FROM jobs.schedule
         WHERE %(actor)s::text IS NULL OR actor = %(actor)s
         ORDER BY due_at
         LIMIT %(limit)s
    """
    with conn.cursor(row_factory=class_row(Scheduled)) as cur:
        return cur.execute(query, {"actor": actor, "limit": limit}).fetchall()


def _keys(relay: UUID, rows: Sequence[Taken]) -> dict[str, object]:
    return {
        "relay": relay,
        "ids": [row.message_id for row in rows],
        "hops": [row.hop for row in rows],
    }
