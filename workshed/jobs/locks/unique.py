"""Unique keys: one live job per key, by a lock that a generation of a message holds."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import LiteralString

from workshed.database.postgres import Connection, Statement, class_row
from workshed.jobs.names import Names, to_name_array
from workshed.jobs.outbox.schedule import OutboxRow
from workshed.pruning import NO_AGE, delete_old_rows
from workshed.value_class import value_class

KEY_RETRY_DELAY = timedelta(seconds=5)
"""How long a job that waits for its key pauses before it tries again."""


@value_class
class UniqueLock:
    """A row of `workshed.unique_locks`."""

    key: str
    message_id: str
    generation: int
    actor: str
    queue: str
    acquired_at: datetime
    expires_at: datetime | None


@value_class
class KeyClaim:
    """A message's claim of a unique key.

    `span`: how long the lock counts; `None`: as long as the job lives. `replace`: end the job that
    has the key, whether it waits or runs.
    """

    key: str
    message_id: str
    generation: int
    actor: str
    queue: str
    span: timedelta | None = None
    replace: bool = False


def acquire_key(conn: Connection, claim: KeyClaim) -> str:
    """Take a key unless another message has it; return the ID of its holder afterwards.

    Takes over an expired lock. Waits for a transaction that is about to take or free the key.
    """
    return acquire_keys(conn, [claim])[claim.key]


def acquire_keys(conn: Connection, claims: Sequence[KeyClaim]) -> dict[str, str]:
    """Take each key like `acquire_key`, in one statement; return the holders by key.

    No two claims may be for the same key.
    """
    query = """
        SELECT c.key, workshed.acquire_key(c.key, c.id, c.generation, c.actor, c.queue, c.span,
                                           c.replace)
          FROM (SELECT *
                  FROM unnest(%(keys)s::text[], %(ids)s::text[], %(generations)s::int[],
                              %(actors)s::text[], %(queues)s::text[], %(spans)s::interval[],
                              %(replace)s::bool[]) AS c (key, id, generation, actor, queue, span,
                                                         replace)
                 ORDER BY key  -- all processes lock in one order
                OFFSET 0) AS c
    """
    values = {
        "keys": [claim.key for claim in claims],
        "ids": [claim.message_id for claim in claims],
        "generations": [claim.generation for claim in claims],
        "actors": [claim.actor for claim in claims],
        "queues": [claim.queue for claim in claims],
        "spans": [claim.span for claim in claims],
        "replace": [claim.replace for claim in claims],
    }
    return dict(conn.execute(query, values).fetchall())


def insert_with_key_statement(
    row: OutboxRow, claim: KeyClaim, delay: timedelta, at: datetime | None, waiting_body: str | None
) -> Statement:
    """Return the statement that stores a message with its key; it returns the key's holder.

    If another job has the key, nothing is stored, or `waiting_body` for a later try.
    """
    query: LiteralString = """
        SELECT workshed.insert_with_key(
            %(message_id)s, %(generation)s, %(queue)s, %(actor)s, %(body)s, %(reason)s,
            COALESCE(%(at)s, workshed.now() + %(delay)s),
            %(key)s, %(span)s, %(replace)s, %(waiting_body)s, %(pause)s)
    """
    values: Mapping[str, object] = {
        "message_id": row.message_id,
        "generation": row.generation,
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
        "pause": KEY_RETRY_DELAY,
    }
    return Statement(query, values)


def insert_leased_with_key(
    conn: Connection, row: OutboxRow, claim: KeyClaim, span: timedelta, waiting_body: str | None
) -> str:
    """Store a message that its sender publishes, with its key; return the key's holder.

    Works like `insert_with_key_statement`. A relay sends the message if it is still there after
    `span`.
    """
    query = """
        WITH lock AS (
            SELECT workshed.acquire_key(%(key)s, %(id)s, %(generation)s, %(actor)s, %(queue)s,
                                        %(key_span)s,
                                 %(replace)s) AS holder
        ), stored AS (
            INSERT INTO workshed.schedule (message_id, generation, queue, actor, body, reason,
                                           possible_duplicate, due_at)
            SELECT %(id)s, %(generation)s, %(queue)s, %(actor)s,
                   CASE WHEN holder = %(id)s THEN %(body)s ELSE %(waiting_body)s END,
                   CASE WHEN holder = %(id)s THEN %(reason)s ELSE 'delayed' END,
                   %(possible_duplicate)s,
                   workshed.now() + CASE WHEN holder = %(id)s THEN %(span)s ELSE %(pause)s END
              FROM lock
             WHERE holder = %(id)s OR %(waiting_body)s::text IS NOT NULL
        )
        SELECT holder FROM lock
    """
    values = {
        "id": row.message_id,
        "generation": row.generation,
        "queue": row.queue,
        "actor": row.actor,
        "body": row.body,
        "reason": row.reason,
        "possible_duplicate": row.possible_duplicate,
        "span": span,
        "key": claim.key,
        "key_span": claim.span,
        "replace": claim.replace,
        "waiting_body": waiting_body,
        "pause": KEY_RETRY_DELAY,
    }
    found = conn.execute(query, values).fetchone()
    assert found is not None  # noqa: S101 -- one row by construction
    holder: str = found[0]
    return holder


def get_unique_lock(conn: Connection, key: str) -> UniqueLock | None:
    """Return the lock on a key."""
    query = """
        SELECT key, message_id, generation, actor, queue, acquired_at, expires_at
          FROM workshed.unique_locks
         WHERE key = %s
    """
    with conn.cursor(row_factory=class_row(UniqueLock)) as cur:
        return cur.execute(query, (key,)).fetchone()


def list_job_unique_locks(conn: Connection, message_id: str) -> list[UniqueLock]:
    """Return the locks of one job."""
    query = """
        SELECT key, message_id, generation, actor, queue, acquired_at, expires_at
          FROM workshed.unique_locks
         WHERE message_id = %s
         ORDER BY key
    """
    with conn.cursor(row_factory=class_row(UniqueLock)) as cur:
        return cur.execute(query, (message_id,)).fetchall()


def list_unique_locks(
    conn: Connection,
    *,
    actor: Names = None,
    begins: str | None = None,
    after: tuple[datetime, str] | None = None,
    limit: int = 1_000,
) -> list[UniqueLock]:
    """Return the locks, oldest first.

    `begins`: a prefix of their keys. `after`: only those after this `acquired_at` and key.
    """
    # Sorted by bytes like in Python, which merges them with others.
    query = """
        SELECT key, message_id, generation, actor, queue, acquired_at, expires_at
          FROM workshed.unique_locks
         WHERE (%(actors)s::text[] IS NULL OR actor = ANY (%(actors)s))
           AND (%(begins)s::text IS NULL OR starts_with(key, %(begins)s))
           AND (%(acquired_at)s::timestamptz IS NULL
                OR (acquired_at, key COLLATE "C") > (%(acquired_at)s, %(key)s))
         ORDER BY acquired_at, key COLLATE "C"
         LIMIT %(limit)s
    """
    acquired_at, key = after or (None, None)
    values = {
        "actors": to_name_array(actor),
        "begins": begins,
        "acquired_at": acquired_at,
        "key": key,
        "limit": limit,
    }
    with conn.cursor(row_factory=class_row(UniqueLock)) as cur:
        return cur.execute(query, values).fetchall()


def list_locks_without_row(conn: Connection) -> list[UniqueLock]:
    """Return the locks whose job is not in PostgreSQL: it is on RabbitMQ, or lost."""
    query = """
        SELECT l.key, l.message_id, l.generation, l.actor, l.queue, l.acquired_at, l.expires_at
          FROM workshed.unique_locks AS l
         WHERE (l.expires_at IS NULL OR l.expires_at > workshed.now())
           AND NOT EXISTS (SELECT FROM workshed.schedule AS s WHERE s.message_id = l.message_id)
           -- Of a job that ended and whose key is held for its span.
           AND NOT EXISTS (SELECT FROM workshed.completed_generations AS s
                            WHERE s.message_id = l.message_id AND s.generation >= l.generation)
         ORDER BY l.acquired_at, l.key
    """
    with conn.cursor(row_factory=class_row(UniqueLock)) as cur:
        return cur.execute(query).fetchall()


def release_locks(conn: Connection, message_id: str, generation: int) -> int:
    """Release the locks of this generation; a copy of an earlier one releases nothing."""
    return conn.execute(*release_statement(message_id, generation)).rowcount


def release_statement(message_id: str, generation: int) -> Statement:
    """Return the statement of `release_locks`."""
    query: LiteralString = (
        "DELETE FROM workshed.unique_locks "
        "WHERE message_id = %(message_id)s AND generation <= %(generation)s"
    )
    return Statement(query, {"message_id": message_id, "generation": generation})


def release_key(conn: Connection, lock: UniqueLock) -> bool:
    """Release a key manually; False if this lock does not exist any more.

    A job of it that is still alive may then overlap with the next one.
    """
    query = (
        "DELETE FROM workshed.unique_locks WHERE key = %s AND message_id = %s AND generation = %s"
    )
    return conn.execute(query, (lock.key, lock.message_id, lock.generation)).rowcount > 0


def move_locks(conn: Connection, message_id: str, generation: int) -> int:
    """Pass the locks of an earlier generation of a message to this one."""
    query = (
        "UPDATE workshed.unique_locks SET generation = %(generation)s "
        "WHERE message_id = %(id)s AND generation < %(generation)s"
    )
    return conn.execute(query, {"id": message_id, "generation": generation}).rowcount


def prune_unique_locks(conn: Connection, limit: int) -> int:
    """Delete locks that no longer count, at most `limit`; return how many."""
    return delete_old_rows(conn, "workshed.unique_locks", "expires_at", NO_AGE, limit)
