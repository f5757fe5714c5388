"""What a relay takes from the schedule, and what becomes of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from psycopg.rows import class_row

from workshed.db import Connection
from workshed.jobs.relays import DEAD_AFTER

BATCH = 1_000


@dataclass(frozen=True, slots=True)
class Taken:
    """A row that a relay has marked as its own."""

    message_id: str
    hop: int
    queue: str
    body: str
    due_at: datetime
    again: bool
    """RabbitMQ may have a copy: a relay that died may have published it, or its sender."""


def use_indexes(conn: Connection) -> None:
    """Plan this connection's queries for any number of rows.

    After a bulk insert and before ANALYZE, PostgreSQL would scan a million rows instead of an
    index.
    """
    conn.execute("SET enable_seqscan = off; SET plan_cache_mode = force_custom_plan")


def clock(conn: Connection) -> datetime:
    """Return the time that due times are compared with."""
    found = conn.execute("SELECT jobs.now()").fetchone()
    assert found is not None  # noqa: S101 -- one row by construction
    now: datetime = found[0]
    return now


def take(
    conn: Connection, relay: UUID, limit: int, *, since: datetime | None = None
) -> list[Taken]:
    """Mark the next due rows as this relay's own and return them, the longest due first.

    `since` leaves out what was due earlier. Without it, each row that was sent since the oldest
    open transaction began is passed over, in 0.3 µs: too much for fifty times a second.
    """
    query = """
        WITH due AS (
            SELECT message_id, hop
              FROM jobs.schedule
             WHERE taken_by IS NULL AND sent_at IS NULL
               AND due_at >= COALESCE(%(since)s::timestamptz, '-infinity')
               AND due_at <= jobs.now()
             ORDER BY due_at
             LIMIT %(limit)s
               FOR UPDATE SKIP LOCKED
        ), taken AS (
            UPDATE jobs.schedule AS s
               SET taken_by = %(relay)s, taken_at = jobs.now(),
                   -- The sender of a lease may have published it and died.
                   again = s.again OR s.reason = 'lease'
              FROM due
             WHERE s.message_id = due.message_id AND s.hop = due.hop
            RETURNING s.message_id, s.hop, s.queue, s.body, s.due_at, s.again
        )
        SELECT * FROM taken ORDER BY due_at
    """
    values = {"relay": relay, "limit": limit, "since": since}
    with conn.cursor(row_factory=class_row(Taken)) as cur:
        return cur.execute(query, values).fetchall()


def adopt(conn: Connection, relay: UUID, limit: int) -> list[Taken]:
    """Take what a relay that died had taken; marked, since it may have published it."""
    query = """
        WITH orphaned AS (
            SELECT message_id, hop
              FROM jobs.schedule
             WHERE taken_by IS NOT NULL
               AND taken_at < jobs.now() - %(dead_after)s
               AND NOT EXISTS (
                   SELECT FROM jobs.relays
                    WHERE relays.id = schedule.taken_by
                      AND relays.beat_at >= jobs.now() - %(dead_after)s)
             LIMIT %(limit)s
               FOR UPDATE SKIP LOCKED
        ), taken AS (
            UPDATE jobs.schedule AS s
               SET taken_by = %(relay)s, taken_at = jobs.now(), again = true
              FROM orphaned
             WHERE s.message_id = orphaned.message_id AND s.hop = orphaned.hop
            RETURNING s.message_id, s.hop, s.queue, s.body, s.due_at, s.again
        )
        SELECT * FROM taken ORDER BY due_at
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


def drop(conn: Connection, relay: UUID, row: Taken) -> None:
    """Delete a row that will never be sent."""
    query = "DELETE FROM jobs.schedule WHERE message_id = %s AND hop = %s AND taken_by = %s"
    conn.execute(query, (row.message_id, row.hop, relay))


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


def next_due(conn: Connection, *, since: datetime | None = None) -> timedelta | None:
    """Return how long until the next row is due; `None` when nothing waits."""
    query = """
        SELECT min(due_at) - jobs.now()
          FROM jobs.schedule
         WHERE taken_by IS NULL AND sent_at IS NULL
           AND due_at >= COALESCE(%s::timestamptz, '-infinity')
    """
    found = conn.execute(query, (since,)).fetchone()
    wait: timedelta | None = found[0] if found else None
    return wait


def lag(conn: Connection) -> timedelta:
    """Return for how long the oldest due row has waited to be sent; zero when none does."""
    query = """
        SELECT jobs.now() - LEAST(
               (SELECT min(due_at) FROM jobs.schedule WHERE taken_by IS NULL AND sent_at IS NULL),
               (SELECT min(due_at) FROM jobs.schedule WHERE taken_by IS NOT NULL))
    """
    found = conn.execute(query).fetchone()
    waited: timedelta | None = found[0] if found else None
    return max(waited or timedelta(), timedelta())


def kept_queues(conn: Connection) -> list[str]:
    """Return the queues that have rows kept until their outcome."""
    query = """
        SELECT name FROM jobs.queues
         WHERE EXISTS (SELECT FROM jobs.schedule WHERE queue = name AND sent_at IS NOT NULL)
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


def resend(conn: Connection, after: timedelta, *, limit: int = BATCH) -> int:
    """Let rows that have been absent for longer than `after` be sent again; return how many.

    Of each queue at most `limit`, of those that were sent first: they are the longest absent, so
    that a backlog of a million costs nothing.
    """
    query = """
        UPDATE jobs.schedule AS s
           SET sent_at = NULL, absent_at = NULL, again = true, due_at = jobs.now()
          FROM jobs.queues AS q
         CROSS JOIN LATERAL (
               SELECT message_id, hop, absent_at
                 FROM jobs.schedule
                WHERE queue = q.name AND sent_at IS NOT NULL
                ORDER BY sent_at
                LIMIT %(limit)s
               ) AS first
         WHERE first.absent_at < jobs.now() - %(after)s
           AND s.message_id = first.message_id AND s.hop = first.hop
           AND s.sent_at IS NOT NULL  -- or another relay was first
    """
    return conn.execute(query, {"after": after, "limit": limit}).rowcount


def _keys(relay: UUID, rows: Sequence[Taken]) -> dict[str, object]:
    return {
        "relay": relay,
        "ids": [row.message_id for row in rows],
        "hops": [row.hop for row in rows],
    }
