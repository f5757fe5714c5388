"""What a user is told: rows whose numbers are seen in their order."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from workshed.db import Connection
from workshed.pruning import delete_old

# Said once, for connections that are waited for and for those of an event loop (`live`).
AFTER = """
    SELECT number, event, data, created_at
      FROM workshed_notifications.notifications
     WHERE user_id = %(user_id)s AND number > %(number)s
     ORDER BY number
     LIMIT %(limit)s
"""
LAST = "SELECT last FROM workshed_notifications.inboxes WHERE user_id = %s"


@dataclass(frozen=True, slots=True)
class Notification:
    """A row of `workshed_notifications.notifications`."""

    number: int
    event: str
    data: Any
    """What JSON can say."""
    created_at: datetime


def channel(user_id: str) -> str:
    """Name the channel of PostgreSQL on which only this user's numbers are heard.

    By a hash, since a name has at most 63 bytes and an id may be longer.
    """
    return f"notifications_{hashlib.sha256(user_id.encode()).hexdigest()[:32]}"


def tell(
    conn: Connection, user_id: str, event: str, data: Mapping[str, Any], *, key: str
) -> int | None:
    """Tell a user something, once per key; return its number, `None` if it was told already.

    It commits with the caller's transaction, which from here on holds up all others that tell this
    user: so tell at its end, and several users in the order of their ids. `event` is a lower-case
    word. `user_id` is an id of the application: lock that record first, so that nobody deletes it
    before this transaction ends.
    """
    _hold(conn, user_id)
    query = """
        WITH told AS (
            INSERT INTO workshed_notifications.notifications (user_id, number, event, data, key)
            SELECT user_id, last + 1, %(event)s, %(data)s, %(key)s
              FROM workshed_notifications.inboxes
             WHERE user_id = %(user_id)s
                ON CONFLICT ON CONSTRAINT notifications_once DO NOTHING
            RETURNING user_id, number
        ), counted AS (
            UPDATE workshed_notifications.inboxes AS i
               SET last = told.number
              FROM told
             WHERE i.user_id = told.user_id
        )
        SELECT number, pg_notify(%(channel)s, number::text) FROM told
    """
    row = {"event": event, "data": Jsonb(dict(data)), "key": key}
    values = {**row, "user_id": user_id, "channel": channel(user_id)}
    found = conn.execute(query, values).fetchone()
    return found[0] if found else None


def _hold(conn: Connection, user_id: str) -> None:
    """Lock the user's inbox, a new one if there is none.

    A statement of its own: the next sees what was committed while this one waited. The update is
    of no row, but the row is locked.
    """
    query = """
        INSERT INTO workshed_notifications.inboxes (user_id)
        VALUES (%s)
            ON CONFLICT (user_id) DO UPDATE SET last = 0 WHERE false
    """
    conn.execute(query, (user_id,))


def after(conn: Connection, user_id: str, number: int, limit: int) -> list[Notification]:
    """Return what the user was told after this number, the oldest first, at most so many."""
    values = {"user_id": user_id, "number": number, "limit": limit}
    with conn.cursor(row_factory=class_row(Notification)) as cur:
        return cur.execute(AFTER, values).fetchall()


def last(conn: Connection, user_id: str) -> int:
    """Return the number of what the user was told last; 0 for nothing."""
    found = conn.execute(LAST, (user_id,)).fetchone()
    return found[0] if found else 0


def delete_of(conn: Connection, user_id: str) -> int:
    """Delete all notifications of a user; return how many.

    Call it in the transaction that deletes the user, after that: then nothing is told in between.
    """
    conn.execute("DELETE FROM workshed_notifications.inboxes WHERE user_id = %s", (user_id,))
    query = "DELETE FROM workshed_notifications.notifications WHERE user_id = %s"
    return conn.execute(query, (user_id,)).rowcount


def prune_notifications(conn: Connection, older_than: timedelta, limit: int) -> int:
    """Delete what was told long ago, at most `limit`; return how many.

    Inboxes keep their numbers, so none is ever given twice.
    """
    table = "workshed_notifications.notifications"
    return delete_old(conn, table, "created_at", older_than, limit)
