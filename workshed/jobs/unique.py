"""One job alive per key: a lock held by a hop of a message."""

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
