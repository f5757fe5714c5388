"""Shared counters with an expiry; a missing or expired one is 0."""

from collections.abc import Callable, Sequence
from datetime import timedelta

from workshed.database.postgres import Connection
from workshed.pruning import NO_AGE, delete_old_rows

HIGHEST_VALUE = 2**62
"""No counter gets near it."""


def create_counter(conn: Connection, key: str, value: int, ttl: timedelta) -> bool:
    """Create a counter with this value; False if it exists already."""
    query = """
        INSERT INTO workshed.counters AS c (key, value, expires_at)
        VALUES (%(key)s, %(value)s, workshed.now() + %(ttl)s)
            ON CONFLICT (key)
            DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at
             WHERE c.expires_at <= workshed.now()
    """
    return conn.execute(query, {"key": key, "value": value, "ttl": ttl}).rowcount == 1


def change_counter(
    conn: Connection,
    key: str,
    by: int,
    ttl: timedelta,
    *,
    lowest: int | None = None,
    highest: int | None = None,
) -> bool:
    """Add `by`, unless that leads below `lowest` or above `highest`; restarts `ttl`."""
    _ensure(conn, key)
    query = """
        UPDATE workshed.counters
           SET value = CASE WHEN expires_at > workshed.now() THEN value ELSE 0 END + %(by)s,
               expires_at = workshed.now() + %(ttl)s
         WHERE key = %(key)s
           AND CASE WHEN expires_at > workshed.now() THEN value ELSE 0 END + %(by)s
               BETWEEN COALESCE(%(lowest)s, %(most)s * -1) AND COALESCE(%(highest)s, %(most)s)
    """
    values = {
        "key": key,
        "by": by,
        "ttl": ttl,
        "lowest": lowest,
        "highest": highest,
        "most": HIGHEST_VALUE,
    }
    return conn.execute(query, values).rowcount == 1


def change_within_sum(
    conn: Connection,
    key: str,
    keys: Callable[[], Sequence[str]],
    by: int,
    ttl: timedelta,
    *,
    highest: int,
) -> bool:
    """Add `by`, unless the counter or the sum of all `keys` would be above `highest`.

    Calls whose keys share the part before `@`, like those of one window, are serialized; `keys` is
    called under their lock.
    """
    query = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
    conn.execute(query, (f"workshed.counters {key.rpartition('@')[0]}",))
    create_counter(conn, key, 0, ttl)
    total = """
        SELECT COALESCE(sum(value), 0) FROM workshed.counters
         WHERE key = ANY (%s) AND expires_at > workshed.now()
    """
    ((counted,),) = conn.execute(total, (list(keys()),)).fetchall()
    return counted + by <= highest and change_counter(conn, key, by, ttl, highest=highest)


def has_counter(conn: Connection, key: str) -> bool:
    """Return whether a counter exists and has not expired."""
    query = "SELECT FROM workshed.counters WHERE key = %s AND expires_at > workshed.now()"
    return conn.execute(query, (key,)).rowcount > 0


def prune_counters(conn: Connection, limit: int) -> int:
    """Delete what has expired, at most `limit`; return how many."""
    return delete_old_rows(conn, "workshed.counters", "expires_at", NO_AGE, limit)


def _ensure(conn: Connection, key: str) -> None:
    query = """
        INSERT INTO workshed.counters (key, value, expires_at) VALUES (%s, 0, '-infinity')
            ON CONFLICT DO NOTHING
    """
    conn.execute(query, (key,))
