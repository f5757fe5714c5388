"""Sessions of the console's users; one ends when its row is deleted or expires."""

from datetime import datetime, timedelta

from workshed.database.postgres import Connection, class_row
from workshed.pruning import NO_AGE, delete_old_rows
from workshed.value_class import value_class


@value_class
class SessionRow:
    """A row of `workshed.console_sessions`."""

    id: str
    token_hash: bytes
    proof: str
    user_name: str
    address: str
    browser: str
    created_at: datetime
    seen_at: datetime
    expires_at: datetime


@value_class
class SessionLimits:
    """How long a session lasts."""

    lifetime: timedelta
    """After its beginning, however busy it is."""
    idle: timedelta
    """After its last use."""


@value_class
class SessionOrigin:
    """Where a user has logged in."""

    address: str
    browser: str


def create_session(
    conn: Connection,
    *,
    token_hash: bytes,
    proof: str,
    user_name: str,
    origin: SessionOrigin,
    limits: SessionLimits,
) -> None:
    """Begin a session."""
    query = """
        INSERT INTO workshed.console_sessions
               (token_hash, proof, user_name, address, browser, expires_at)
        VALUES (%(token_hash)s, %(proof)s, %(user_name)s, %(address)s, %(browser)s,
                workshed.now() + LEAST(%(lifetime)s, %(idle)s))
    """
    values = {
        "token_hash": token_hash,
        "proof": proof,
        "user_name": user_name,
        "address": origin.address,
        "browser": origin.browser,
        "lifetime": limits.lifetime,
        "idle": limits.idle,
    }
    conn.execute(query, values)


def find_session(conn: Connection, token_hash: bytes) -> SessionRow | None:
    """Return the session of a token, unless it has ended."""
    query = """
        SELECT id::text, token_hash, proof, user_name, address, browser,
               created_at, seen_at, expires_at
          FROM workshed.console_sessions
         WHERE token_hash = %s AND expires_at > workshed.now()
    """
    with conn.cursor(row_factory=class_row(SessionRow)) as cur:
        return cur.execute(query, (token_hash,)).fetchone()


def use_session(conn: Connection, session_id: str, limits: SessionLimits) -> None:
    """Record that a session is in use, which puts off its expiry."""
    query = """
        UPDATE workshed.console_sessions
           SET seen_at = workshed.now(),
               expires_at = LEAST(created_at + %(lifetime)s, workshed.now() + %(idle)s)
         WHERE id = %(id)s AND expires_at > workshed.now()
    """
    values = {"id": session_id, "lifetime": limits.lifetime, "idle": limits.idle}
    conn.execute(query, values)


def list_sessions(conn: Connection, user_name: str | None, limit: int) -> list[SessionRow]:
    """Return the sessions of a user, or of all for `None`, the last seen first."""
    query = """
        SELECT id::text, token_hash, proof, user_name, address, browser,
               created_at, seen_at, expires_at
          FROM workshed.console_sessions
         WHERE (%(user_name)s::text IS NULL OR user_name = %(user_name)s)
           AND expires_at > workshed.now()
         ORDER BY seen_at DESC, id
         LIMIT %(limit)s
    """
    with conn.cursor(row_factory=class_row(SessionRow)) as cur:
        return cur.execute(query, {"user_name": user_name, "limit": limit}).fetchall()


def delete_session(conn: Connection, session_id: str, user_name: str) -> bool:
    """End a session of a user; False if it has ended, or is another user's."""
    query = "DELETE FROM workshed.console_sessions WHERE id = %s AND user_name = %s"
    return conn.execute(query, (session_id, user_name)).rowcount == 1


def delete_user_sessions(conn: Connection, user_name: str, *, spared: str | None = None) -> int:
    """End all sessions of a user, except `spared`; return how many."""
    query = """
        DELETE FROM workshed.console_sessions
         WHERE user_name = %(user_name)s AND id IS DISTINCT FROM %(spared)s::uuid
    """
    return conn.execute(query, {"user_name": user_name, "spared": spared}).rowcount


def prune_sessions(conn: Connection, limit: int) -> int:
    """Delete what has expired, at most `limit`; return how many."""
    return delete_old_rows(conn, "workshed.console_sessions", "expires_at", NO_AGE, limit)
