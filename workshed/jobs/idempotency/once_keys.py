"""Effects that happen once: each has a key that commits together with the effect."""

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, LiteralString

from workshed.database.adapters import Steps
from workshed.database.postgres import Connection, FirstStatement, Statement
from workshed.pruning import WITHOUT_JOB, delete_old_rows

if TYPE_CHECKING:
    from workshed.database.pool import InterruptibleConnection

FIRST_CLAIM = FirstStatement(
    b"workshed_claim_key",
    """
        WITH lock_wait AS MATERIALIZED (
            SELECT current_setting('lock_timeout') AS usual,
                   -- More than a commit takes, and less than PostgreSQL's `deadlock_timeout`.
                   set_config('lock_timeout', '100ms', true)
        ), claimed AS (
            INSERT INTO workshed.once_keys (scope, key, message_id)
            SELECT $1::text, $2::text, $2::text FROM lock_wait
            ON CONFLICT ON CONSTRAINT once_keys_key DO NOTHING
            RETURNING true
        )
        SELECT new.keys
          FROM lock_wait, (SELECT count(*) AS keys FROM claimed) AS new
         -- Always true. The count is known only after the wait for a lock.
         WHERE CASE WHEN new.keys >= 0 THEN set_config('lock_timeout', usual, true) END IS NOT NULL
    """,
)
"""Writes the key of a job; returns 0 if it exists already. Only this statement waits no longer than
so for a lock: a copy that has written the key and has not ended may run for hours."""


class OnceKey:
    """The once key of a job that is about to run: its ID."""

    def __init__(self, scope: str, message_id: str) -> None:
        """Take the actor and the job; writes nothing yet."""
        self._scope, self._message_id = scope, message_id
        self._is_new: bool | None = None
        """`None`: it has not been written yet."""

    def begin(self, conn: "InterruptibleConnection") -> None:
        """Begin a transaction in which the key is written, unless a copy is running."""
        keys = conn.begin_with(FIRST_CLAIM, (self._scope, self._message_id))
        self._is_new = None if keys is None else keys == "1"

    def claim(self, conn: Connection) -> bool:
        """Return whether it is new; write it, and wait for a copy that runs, if still necessary."""
        if self._is_new is None:
            self._is_new = claim_key(conn, self._scope, self._message_id, self._message_id)
        return self._is_new


def claim_key(conn: Connection, scope: str, key: str, message_id: str) -> bool:
    """Write the key in the caller's transaction; False if it exists already.

    Waits for a transaction that is about to write the same key. `scope` is the actor.
    """
    return conn.execute(*claim_statement(scope, key, message_id)).rowcount > 0


def claim_steps(scope: str, key: str, message_id: str) -> Steps[bool]:
    """Yield the statement of `claim_key`, for other types of connections."""
    return (yield claim_statement(scope, key, message_id)) is not None


def claim_statement(scope: str, key: str, message_id: str) -> Statement:
    """Return the statement that writes a key; it returns a row if the key is new."""
    query: LiteralString = """
        INSERT INTO workshed.once_keys (scope, key, message_id)
        VALUES (%(scope)s, %(key)s, %(message_id)s)
        ON CONFLICT ON CONSTRAINT once_keys_key DO NOTHING
        RETURNING true
    """
    return Statement(query, {"scope": scope, "key": key, "message_id": message_id})


def claim_keys(conn: Connection, scope: str, keys: Sequence[str]) -> set[str]:
    """Write a key for each job, its ID, in the caller's transaction; return those that are new."""
    query = """
        INSERT INTO workshed.once_keys (scope, key, message_id)
        SELECT %(scope)s, key, key
          FROM (SELECT DISTINCT unnest(%(keys)s::text[]) AS key ORDER BY 1) AS wanted
        ON CONFLICT ON CONSTRAINT once_keys_key DO NOTHING
        RETURNING key
    """
    return {key for (key,) in conn.execute(query, {"scope": scope, "keys": list(keys)})}


def is_claimed(conn: Connection, scope: str, key: str) -> bool:
    """Return whether the key exists."""
    query = "SELECT FROM workshed.once_keys WHERE scope = %s AND key = %s"
    return conn.execute(query, (scope, key)).rowcount > 0


def prune_once_keys(conn: Connection, older_than: timedelta, limit: int) -> int:
    """Delete keys that no copy can need any more, at most `limit`; return how many.

    Keys of waiting and dead jobs are renewed once a day, because once such a job is on RabbitMQ, no
    row shows that it is alive, and it must still find the keys of its earlier attempts. Returns the
    number of renewed keys if that is larger.
    """
    renew = """
        UPDATE workshed.once_keys SET done_at = workshed.now()
         WHERE ctid = ANY (ARRAY(
               SELECT ctid FROM workshed.once_keys AS o
                WHERE done_at < workshed.now() - least(%(older_than)s / 2, interval '1 day')
                  AND (EXISTS (SELECT FROM workshed.schedule WHERE message_id = o.message_id)
                       OR EXISTS (SELECT FROM workshed.dead WHERE message_id = o.message_id))
                LIMIT %(limit)s
                  FOR UPDATE SKIP LOCKED))
    """
    renewed = conn.execute(renew, {"older_than": older_than, "limit": limit}).rowcount
    deleted = delete_old_rows(conn, "workshed.once_keys", "done_at", older_than, limit, WITHOUT_JOB)
    return max(renewed, deleted)
