"""Run locks: one running job per key, by a lease that is renewed while its process lives."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from workshed.database.postgres import Connection, class_row
from workshed.jobs.names import Names, to_name_array
from workshed.pruning import NO_AGE, delete_old_rows
from workshed.value_class import value_class

LEASE = timedelta(seconds=30)


@value_class
class RunLock:
    """The right to run of one start of a job; `token` is unique to this start."""

    key: str
    token: UUID
    message_id: str
    generation: int
    actor: str
    queue: str
    host: str
    pid: int


@value_class
class HeldLock:
    """A row of `workshed.run_locks`, for people to read."""

    key: str
    message_id: str
    generation: int
    actor: str
    queue: str
    host: str
    pid: int
    acquired_at: datetime
    expires_at: datetime


def acquire_lock(conn: Connection, turn: RunLock) -> str | None:
    """Take the key if it is free or its lease has expired; else return the message that has it.

    A copy of the job that has the key does not get it either, because that job may be running.
    """
    query = """
        INSERT INTO workshed.run_locks AS l
               (key, token, message_id, generation, actor, queue, host, pid, expires_at)
        VALUES (%(key)s, %(token)s, %(message_id)s, %(generation)s, %(actor)s, %(queue)s,
                %(host)s, %(pid)s, workshed.now() + %(lease)s)
        ON CONFLICT (key) DO UPDATE
           SET token = EXCLUDED.token, message_id = EXCLUDED.message_id,
               generation = EXCLUDED.generation,
               actor = EXCLUDED.actor, queue = EXCLUDED.queue, host = EXCLUDED.host,
               pid = EXCLUDED.pid, acquired_at = workshed.now(), expires_at = EXCLUDED.expires_at
         WHERE l.expires_at <= workshed.now() OR l.token = EXCLUDED.token
    """
    values = {
        "key": turn.key,
        "token": turn.token,
        "message_id": turn.message_id,
        "generation": turn.generation,
        "actor": turn.actor,
        "queue": turn.queue,
        "host": turn.host,
        "pid": turn.pid,
        "lease": LEASE,
    }
    while True:
        if conn.execute(query, values).rowcount:
            return None
        holder = "SELECT message_id FROM workshed.run_locks WHERE key = %s"
        found = conn.execute(holder, (turn.key,)).fetchone()
        if found is not None:  # otherwise it was freed in between, so try again
            return f"{found[0]}"


def list_run_locks(
    conn: Connection,
    *,
    actor: Names = None,
    begins: str | None = None,
    after: tuple[datetime, str] | None = None,
    limit: int = 1_000,
) -> list[HeldLock]:
    """Return the run locks, oldest first.

    `begins`: a prefix of their keys. `after`: only those after this `acquired_at` and key.
    """
    # Sorted by bytes like in Python, which merges them with others.
    query = """
        SELECT key, message_id, generation, actor, queue, host, pid, acquired_at, expires_at
          FROM workshed.run_locks
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
    with conn.cursor(row_factory=class_row(HeldLock)) as cur:
        return cur.execute(query, values).fetchall()


def list_job_run_locks(conn: Connection, message_id: str) -> list[HeldLock]:
    """Return the run locks of one job."""
    query = """
        SELECT key, message_id, generation, actor, queue, host, pid, acquired_at, expires_at
          FROM workshed.run_locks
         WHERE message_id = %s
         ORDER BY key
    """
    with conn.cursor(row_factory=class_row(HeldLock)) as cur:
        return cur.execute(query, (message_id,)).fetchall()


def renew_locks(conn: Connection, tokens: Sequence[UUID]) -> int:
    """Extend leases; return how many are still held."""
    query = "UPDATE workshed.run_locks SET expires_at = workshed.now() + %s WHERE token = ANY(%s)"
    return conn.execute(query, (LEASE, list(tokens))).rowcount


def release_lock(conn: Connection, turn: RunLock) -> bool:
    """Release the key; False if another start has it, or had it since."""
    query = "DELETE FROM workshed.run_locks WHERE key = %s AND token = %s"
    return conn.execute(query, (turn.key, turn.token)).rowcount > 0


def prune_run_locks(conn: Connection, limit: int) -> int:
    """Delete leases that have run out, at most `limit`; return how many."""
    return delete_old_rows(conn, "workshed.run_locks", "expires_at", NO_AGE, limit)
