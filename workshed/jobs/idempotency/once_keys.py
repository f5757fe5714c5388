"""Effects that happen once: each has a key that commits together with the effect."""

from collections.abc import Sequence
from datetime import timedelta
from typing import LiteralString

from workshed.database.adapters import Steps
from workshed.database.postgres import Connection, Statement
from workshed.pruning import WITHOUT_JOB, delete_old_rows


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
