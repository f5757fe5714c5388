"""One job alive per key: a lock held by a hop of a message."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import LiteralString

from psycopg.rows import class_row

from workshed.db import Connection
from workshed.jobs.outbox.schedule import Row, Statement

WAIT = timedelta(seconds=5)
"""After this a job that was put off tries again to get its key."""


@dataclass(frozen=True, slots=True)
class Lock:
    """A row of `jobs.unique_locks`."""

    key: str
    message_id: str
    hop: int
    actor: str
    queue: str
    held_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Claim:
    """A key that a message asks for.

    `span`: after it the lock no longer counts; `None` is for as long as the job lives. `replace`:
    the job that has the key is ended, whether it waits or runs.
    """

    key: str
    message_id: str
    hop: int
    actor: str
    queue: str
    span: timedelta | None = None
    replace: bool = False


def take(conn: Connection, claim: Claim) -> str:
    """Take a key unless another message has it; return the id of the message that has it then.

    An expired lock is taken over. Waits for a transaction that is about to take or free the key.
    """
    return take_many(conn, [claim])[claim.key]


def take_many(conn: Connection, claims: Sequence[Claim]) -> dict[str, str]:
    """Take each key, as `take` does, in one statement; return by key who has it.

    No two claims may ask for the same key.
    """
    query = """
        SELECT c.key, jobs.take_key(c.key, c.id, c.hop, c.actor, c.queue, c.span, c.replace)
          FROM (SELECT *
                  FROM unnest(%(keys)s::text[], %(ids)s::text[], %(hops)s::int[],
                              %(actors)s::text[], %(queues)s::text[], %(spans)s::interval[],
                              %(replace)s::bool[]) AS c (key, id, hop, actor, queue, span, replace)
                 ORDER BY key  -- all processes lock in one order
                OFFSET 0) AS c
    """
    values = {
        "keys": [claim.key for claim in claims],
        "ids": [claim.message_id for claim in claims],
        "hops": [claim.hop for claim in claims],
        "actors": [claim.actor for claim in claims],
        "queues": [claim.queue for claim in claims],
        "spans": [claim.span for claim in claims],
        "replace": [claim.replace for claim in claims],
    }
    return dict(conn.execute(query, values).fetchall())


def storing(
    row: Row, claim: Claim, delay: timedelta, at: datetime | None, waiting_body: str | None
) -> Statement:
    """Return what stores a message together with its key, and tells who has the key then.

    Where another has it nothing is stored, or `waiting_body` for a later try.
    """
    query: LiteralString = """
        SELECT jobs.store_with_key(
            %(message_id)s, %(hop)s, %(queue)s, %(actor)s, %(body)s, %(reason)s,
            COALESCE(%(at)s, jobs.now() + %(delay)s),
            %(key)s, %(span)s, %(replace)s, %(waiting_body)s, %(pause)s)
    """
    values: Mapping[str, object] = {
        "message_id": row.message_id,
        "hop": row.hop,
        "queue": row.queue,
        "actor": row.actor,
        "body": row.body,
        "reason": row.reason,
        "at": at,
        "delay": delay,
        "key": claim.key,
        "span": claim.span,
        "replace": claim.replace,
        "waiting_body": waiting_body,
        "pause": WAIT,
    }
    return Statement(query, values)


def lease(
    conn: Connection, row: Row, claim: Claim, span: timedelta, waiting_body: str | None
) -> str:
    """Store a message that its sender publishes, with its key, as `storing` does; say who has it.

    A relay sends it after `span` if it is still there.
    """
    query = """
        WITH lock AS (
            SELECT jobs.take_key(%(key)s, %(id)s, %(hop)s, %(actor)s, %(queue)s, %(key_span)s,
                                 %(replace)s) AS holder
        ), stored AS (
            INSERT INTO jobs.schedule (message_id, hop, queue, actor, body, reason, again, due_at)
            SELECT %(id)s, %(hop)s, %(queue)s, %(actor)s,
                   CASE WHEN holder = %(id)s THEN %(body)s ELSE %(waiting_body)s END,
                   CASE WHEN holder = %(id)s THEN %(reason)s ELSE 'delay' END,
                   %(again)s,
                   jobs.now() + CASE WHEN holder = %(id)s THEN %(span)s ELSE %(pause)s END
              FROM lock
             WHERE holder = %(id)s OR %(waiting_body)s::text IS NOT NULL
        )
        SELECT holder FROM lock
    """
    values = {
        "id": row.message_id,
        "hop": row.hop,
        "queue": row.queue,
        "actor": row.actor,
        "body": row.body,
        "reason": row.reason,
        "again": row.again,
        "span": span,
        "key": claim.key,
        "key_span": claim.span,
        "replace": claim.replace,
        "waiting_body": waiting_body,
        "pause": WAIT,
    }
    found = conn.execute(query, values).fetchone()
    assert found is not None  # noqa: S101 -- one row by construction
    holder: str = found[0]
    return holder


def find(conn: Connection, key: str) -> Lock | None:
    """Return who holds a key."""
    query = """
        SELECT key, message_id, hop, actor, queue, held_at, expires_at
          FROM jobs.unique_locks
         WHERE key = %s
    """
    with conn.cursor(row_factory=class_row(Lock)) as cur:
        return cur.execute(query, (key,)).fetchone()


def of_message(conn: Connection, message_id: str) -> list[Lock]:
    """Return the locks of one job."""
    query = """
        SELECT key, message_id, hop, actor, queue, held_at, expires_at
          FROM jobs.unique_locks
         WHERE message_id = %s
         ORDER BY key
    """
    with conn.cursor(row_factory=class_row(Lock)) as cur:
        return cur.execute(query, (message_id,)).fetchall()


def held(
    conn: Connection,
    *,
    actor: str | None = None,
    begins: str | None = None,
    after: tuple[datetime, str] | None = None,
    limit: int = 1_000,
) -> list[Lock]:
    """Return the locks, the oldest first.

    `begins`: those whose key begins so. `after`: what comes after this `held_at` and key.
    """
    # Sorted by bytes, as Python does, who merges them with others.
    query = """
        SELECT key, message_id, hop, actor, queue, held_at, expires_at
          FROM jobs.unique_locks
         WHERE (%(actor)s::text IS NULL OR actor = %(actor)s)
           AND (%(begins)s::text IS NULL OR starts_with(key, %(begins)s))
           AND (%(held_at)s::timestamptz IS NULL
                OR (held_at, key COLLATE "C") > (%(held_at)s, %(key)s))
         ORDER BY held_at, key COLLATE "C"
         LIMIT %(limit)s
    """
    held_at, key = after or (None, None)
    values = {"actor": actor, "begins": begins, "held_at": held_at, "key": key, "limit": limit}
    with conn.cursor(row_factory=class_row(Lock)) as cur:
        return cur.execute(query, values).fetchall()


def without_row(conn: Connection) -> list[Lock]:
    """Return the locks whose job PostgreSQL does not have: it is on RabbitMQ, or nowhere."""
    query = """
        SELECT l.key, l.message_id, l.hop, l.actor, l.queue, l.held_at, l.expires_at
          FROM jobs.unique_locks AS l
         WHERE (l.expires_at IS NULL OR l.expires_at > jobs.now())
           AND NOT EXISTS (SELECT FROM jobs.schedule AS s WHERE s.message_id = l.message_id)
           -- Of a job that ended and whose key is held for its span.
           AND NOT EXISTS (SELECT FROM jobs.settled AS s
                            WHERE s.message_id = l.message_id AND s.hop >= l.hop)
         ORDER BY l.held_at, l.key
    """
    with conn.cursor(row_factory=class_row(Lock)) as cur:
        return cur.execute(query).fetchall()


def free(conn: Connection, message_id: str, hop: int) -> int:
    """Free what this hop of a message holds; a copy of an earlier hop frees nothing."""
    query = "DELETE FROM jobs.unique_locks WHERE message_id = %s AND hop <= %s"
    return conn.execute(query, (message_id, hop)).rowcount


def release(conn: Connection, lock: Lock) -> bool:
    """Free a key by hand; False when it is not held so any more.

    Its job, if it lives, runs all the same.
    """
    query = "DELETE FROM jobs.unique_locks WHERE key = %s AND message_id = %s AND hop = %s"
    return conn.execute(query, (lock.key, lock.message_id, lock.hop)).rowcount > 0


def move(conn: Connection, message_id: str, hop: int) -> int:
    """Hand what an earlier hop of a message holds to its next one."""
    query = "UPDATE jobs.unique_locks SET hop = %(hop)s WHERE message_id = %(id)s AND hop < %(hop)s"
    return conn.execute(query, {"id": message_id, "hop": hop}).rowcount


def prune(conn: Connection, limit: int) -> int:
    """Delete locks that no longer count, at most `limit`; return how many."""
    query = """
        DELETE FROM jobs.unique_locks
         WHERE key IN (SELECT key FROM jobs.unique_locks
                        WHERE expires_at < jobs.now()
                        LIMIT %s
                          FOR UPDATE SKIP LOCKED)
    """
    return conn.execute(query, (limit,)).rowcount
