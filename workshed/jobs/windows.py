"""What a relay takes from the schedule, and what becomes of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from psycopg.rows import class_row

from workshed.db import Connection

DEAD_AFTER = timedelta(seconds=10)
"""A relay that has not beaten for this long has died; what it took may be taken again."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A row that a relay has marked as its own."""

    message_id: str
    hop: int
    queue: str
    body: str
    again: bool
    """RabbitMQ may have a copy: a relay that died may have published it, or its sender."""


def take(conn: Connection, relay: UUID, limit: int) -> list[Taken]:
    """Mark the next due rows as this relay's own and return them, the longest due first.

    Rows of a relay that died come again, marked, since it may have published them.
    """
    query = """
        WITH free AS (
            SELECT message_id, hop, due_at, again
              FROM jobs.schedule
             WHERE taken_by IS NULL AND sent_at IS NULL AND due_at <= jobs.now()
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
               SET taken_by = %(relay)s, taken_at = jobs.now(),
                   -- The sender of a lease may have published it and died.
                   again = due.again OR s.reason = 'lease'
              FROM due
             WHERE s.message_id = due.message_id AND s.hop = due.hop
            RETURNING s.message_id, s.hop, s.queue, s.body, s.again, s.due_at
        )
        SELECT message_id, hop, queue, body, again FROM taken ORDER BY due_at
    """
    values = {"relay": relay, "limit": limit, "dead_after": DEAD_AFTER}
    with conn.cursor(row_factory=class_row(Taken)) as cur:
        return cur.execute(query, values).fetchall()


def sent(conn: Connection, relay: UUID, rows: Sequence[Taken]) -> int:
    """Delete what RabbitMQ confirmed, where it is still this relay's; return how many.

    A classic queue's confirm is not on disk: its rows are kept until their outcome is stored.
    """
    query = """
        WITH done AS (
            SELECT message_id, hop, (q.kind = 'classic') IS TRUE AS kept
              FROM unnest(%(ids)s::text[], %(hops)s::int[], %(queues)s::text[])
                       AS done (message_id, hop, queue)
              LEFT JOIN jobs.queues AS q ON q.name = done.queue
        ), kept AS (
            UPDATE jobs.schedule AS s
               SET sent_at = jobs.now(), taken_by = NULL, taken_at = NULL
              FROM done
             WHERE s.message_id = done.message_id AND s.hop = done.hop
               AND done.kept AND s.taken_by = %(relay)s
            RETURNING 1
        ), gone AS (
            DELETE FROM jobs.schedule AS s
             USING done
             WHERE s.message_id = done.message_id AND s.hop = done.hop
               AND NOT done.kept
               AND (s.taken_by = %(relay)s) IS TRUE  -- not by its index: the key finds each row
            RETURNING 1
        )
        SELECT (SELECT count(*) FROM kept) + (SELECT count(*) FROM gone)
    """
    values = {**_keys(relay, rows), "queues": [row.queue for row in rows]}
    found = conn.execute(query, values).fetchone()
    return 0 if found is None else int(found[0])


def put_back(
    conn: Connection,
    relay: UUID,
    rows: Sequence[Taken],
    delay: timedelta,
    *,
    unknown: Sequence[bool],
) -> int:
    """Free what RabbitMQ did not take, to be tried again after `delay`; return how many.

    `unknown`, one per row: a copy may have arrived all the same.
    """
    query = """
        UPDATE jobs.schedule AS s
           SET taken_by = NULL, taken_at = NULL, due_at = jobs.now() + %(delay)s,
               again = s.again OR failed.unknown
          FROM unnest(%(ids)s::text[], %(hops)s::int[], %(unknown)s::bool[])
                   AS failed (message_id, hop, unknown)
         WHERE s.message_id = failed.message_id AND s.hop = failed.hop AND s.taken_by = %(relay)s
    """
    values = {**_keys(relay, rows), "delay": delay, "unknown": list(unknown)}
    return conn.execute(query, values).rowcount


def next_due(conn: Connection) -> timedelta | None:
    """Return how long until the next row is due; `None` when nothing waits."""
    query = """
        SELECT min(due_at) - jobs.now()
          FROM jobs.schedule
         WHERE taken_by IS NULL AND sent_at IS NULL
    """
    found = conn.execute(query).fetchone()
    wait: timedelta | None = found[0] if found else None
    return wait


def lag(conn: Connection) -> timedelta:
    """Return for how long the oldest due row has waited to be sent; zero when none does."""
    query = """
        SELECT jobs.now() - min(due_at)
          FROM jobs.schedule
         WHERE sent_at IS NULL AND due_at <= jobs.now()
    """
    found = conn.execute(query).fetchone()
    waited: timedelta | None = found[0] if found else None
    return waited or timedelta()


def kept_queues(conn: Connection) -> list[str]:
    """Return the queues that have rows kept until their outcome."""
    query = """
        SELECT name FROM jobs.queues
         WHERE kind = 'classic'
           AND EXISTS (SELECT FROM jobs.schedule WHERE queue = name AND sent_at IS NOT NULL)
    """
    return [name for (name,) in conn.execute(query)]


def absent(conn: Connection, queue: str, before: datetime) -> int:
    """Note that a queue had no ready message at `before`; return how many rows that concerns.

    What was sent earlier and has no outcome is in a worker's hands since then, or lost.
    """
    query = """
        UPDATE jobs.schedule
           SET absent_at = %(before)s
         WHERE queue = %(queue)s AND sent_at < %(before)s AND absent_at IS NULL
    """
    return conn.execute(query, {"queue": queue, "before": before}).rowcount


def resend(conn: Connection, after: timedelta) -> int:
    """Let rows that have been absent for longer than `after` be sent again; return how many."""
    query = """
        UPDATE jobs.schedule
           SET sent_at = NULL, absent_at = NULL, again = true, due_at = jobs.now()
         WHERE sent_at IS NOT NULL AND absent_at < jobs.now() - %s
    """
    return conn.execute(query, (after,)).rowcount


def _keys(relay: UUID, rows: Sequence[Taken]) -> dict[str, object]:
    return {
        "relay": relay,
        "ids": [row.message_id for row in rows],
        "hops": [row.hop for row in rows],
    }
