"""Results of jobs, kept for a while for callers that wait for them."""

from datetime import timedelta

from workshed.database.postgres import Connection, Statement
from workshed.pruning import NO_AGE, delete_old_rows


def store_result(conn: Connection, key: str, body: bytes, ttl: timedelta) -> None:
    """Store a result; it replaces an earlier one."""
    conn.execute(*store_statement(key, body, ttl))


def store_statement(key: str, body: bytes, ttl: timedelta) -> Statement:
    """Return the statement of `store_result`, for other connections."""
    query = """
        INSERT INTO workshed.results (key, body, expires_at)
        VALUES (%(key)s, %(body)s, workshed.now() + %(ttl)s)
            ON CONFLICT (key) DO UPDATE SET body = excluded.body, expires_at = excluded.expires_at
    """
    return Statement(query, {"key": key, "body": body, "ttl": ttl})


def expire_statement(key: str, body: bytes) -> Statement:
    """Return the statement that lets a result expire now, unless its body has changed."""
    query = """
        UPDATE workshed.results SET expires_at = workshed.now()
         WHERE key = %(key)s AND body = %(body)s
    """
    return Statement(query, {"key": key, "body": body})


def get_result(conn: Connection, key: str) -> bytes | None:
    """Return a result; `None` if there is none, or it has expired."""
    query = "SELECT body FROM workshed.results WHERE key = %s AND expires_at > workshed.now()"
    row = conn.execute(query, (key,)).fetchone()
    return None if row is None else bytes(row[0])


def prune_results(conn: Connection, limit: int) -> int:
    """Delete what has expired, at most `limit`; return how many."""
    return delete_old_rows(conn, "workshed.results", "expires_at", NO_AGE, limit)
