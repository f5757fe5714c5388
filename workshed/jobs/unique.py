"""One job alive per key: a lock held by a hop of a message."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg.rows import class_row

from workshed.db import Connection


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


def take(
    conn: Connection,
    key: str,
    *,
    message_id: str,
    hop: int,
    actor: str,
    queue: str,
    span: timedelta | None = None,
) -> str:
    """Take the key unless another message holds it; return the id of the message that has it.

    An expired lock is taken over. Waits for a transaction that is about to take or free the key.
    `span`: after it the lock no longer counts; `None` is for as long as the job lives.
    """
    query = """
        INSERT INTO jobs.unique_locks AS l
               (key, message_id, hop, actor, queue, expires_at)
        VALUES (%(key)s, %(message_id)s, %(hop)s, %(actor)s, %(queue)s, jobs.now() + %(span)s)
        ON CONFLICT (key) DO UPDATE
           SET message_id = EXCLUDED.message_id, hop = EXCLUDED.hop, actor = EXCLUDED.actor,
               queue = EXCLUDED.queue, held_at = jobs.now(), expires_at = EXCLUDED.expires_at
         WHERE l.expires_at <= jobs.now() OR l.message_id = EXCLUDED.message_id
        RETURNING message_id
    """
    values = {
        "key": key,
        "message_id": message_id,
        "hop": hop,
        "actor": actor,
        "queue": queue,
        "span": span,
    }
    while True:
        if conn.execute(query, values).fetchone() is not None:
            return message_id
        holder = find(conn, key)
        if holder is not None:  # else it was freed in between: try again
            return holder.message_id


@dataclass(frozen=True, slots=True)
class Claim:
    """A key that a message asks for."""

    key: str
    message_id: str
    hop: int
    actor: str
    queue: str


def take_many(conn: Connection, claims: Sequence[Claim]) -> dict[str, str]:
    """Take each key, as `take` does, in one statement; return by key who has it.

    No two claims may ask for the same key.
    """
    query = """
        INSERT INTO jobs.unique_locks AS l (key, message_id, hop, actor, queue)
        SELECT * FROM unnest(%(keys)s::text[], %(ids)s::text[], %(hops)s::int[],
                             %(actors)s::text[], %(queues)s::text[]) AS c (key)
         ORDER BY key  -- all processes lock in one order
        ON CONFLICT (key) DO UPDATE
           SET message_id = EXCLUDED.message_id, hop = EXCLUDED.hop, actor = EXCLUDED.actor,
               queue = EXCLUDED.queue, held_at = jobs.now(), expires_at = NULL
         WHERE l.expires_at <= jobs.now() OR l.message_id = EXCLUDED.message_id
        RETURNING key, message_id
    """
    holders: dict[str, str] = {}
    while len(holders) < len(claims):  # one freed between the two statements is tried again
        left = [claim for claim in claims if claim.key not in holders]
        values = {
            "keys": [claim.key for claim in left],
            "ids": [claim.message_id for claim in left],
            "hops": [claim.hop for claim in left],
            "actors": [claim.actor for claim in left],
            "queues": [claim.queue for claim in left],
        }
        holders |= dict(conn.execute(query, values).fetchall())
        if len(holders) < len(claims):
            holders |= _holders(conn, [c.key for c in left if c.key not in holders])
    return holders


def _holders(conn: Connection, keys: Sequence[str]) -> dict[str, str]:
    query = "SELECT key, message_id FROM jobs.unique_locks WHERE key = ANY(%s)"
    return dict(conn.execute(query, (list(keys),)).fetchall())


def find(conn: Connection, key: str) -> Lock | None:
    """Return who holds a key."""
    query = """
        SELECT key, message_id, hop, actor, queue, held_at, expires_at
          FROM jobs.unique_locks
         WHERE key = %s
    """
    with conn.cursor(row_factory=class_row(Lock)) as cur:
        return cur.execute(query, (key,)).fetchone()


def free(conn: Connection, message_id: str, hop: int) -> int:
    """Free what this hop of a message holds; a copy of an earlier hop frees nothing."""
    query = "DELETE FROM jobs.unique_locks WHERE message_id = %s AND hop <= %s"
    return conn.execute(query, (message_id, hop)).rowcount


def move(conn: Connection, message_id: str, hop: int) -> int:
    """Hand what an earlier hop of a message holds to its next one."""
    query = "UPDATE jobs.unique_locks SET hop = %(hop)s WHERE message_id = %(id)s AND hop < %(hop)s"
    return conn.execute(query, {"id": message_id, "hop": hop}).rowcount
