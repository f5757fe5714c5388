"""Notifications: rows that each user sees in the order of their numbers."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from workshed.database.adapters import SyncConnection
from workshed.database.driver_connection import driver_connection
from workshed.database.postgres import Connection, class_row, to_jsonb
from workshed.pruning import delete_old_rows

# Shared by synchronous connections and those of an event loop (`live`).
SELECT_AFTER = """
    SELECT number, event, data, created_at
      FROM workshed_notifications.notifications
     WHERE user_id = %(user_id)s AND number > %(number)s
     ORDER BY number
     LIMIT %(limit)s
"""
SELECT_LAST = "SELECT last FROM workshed_notifications.inboxes WHERE user_id = %s"


@dataclass(frozen=True, slots=True)
class Notification:
    """A row of `workshed_notifications.notifications`."""

    number: int
    event: str
    data: Any
    """Any JSON value."""
    created_at: datetime


def channel(user_id: str) -> str:
    """Return the PostgreSQL channel that announces only this user's numbers.

    Uses a hash, because a channel's name has at most 63 bytes and an id may be longer.
    """
    return f"notifications_{hashlib.sha256(user_id.encode()).hexdigest()[:32]}"


def notify(
    conn: SyncConnection, user_id: str, event: str, data: Mapping[str, Any], *, key: str
) -> int | None:
    """Notify a user once per key; return the number, `None` if the key was used before.

    The notification commits with the caller's transaction. Until then all other notifications of
    this user wait, so call this at the end of the transaction, and for several users in the order
    of their ids. `event` is a lower-case word. `user_id` is an id of the application: lock that
    record first, so that it is not deleted before this transaction ends. `conn` is a connection of
    psycopg 3, Django or SQLAlchemy, or a session of SQLAlchemy. Raises `OpenTransactionError` on a
    connection of Django outside `transaction.atomic()`, and `UnknownConnectionError` for any other
    `conn`.
    """
    driver = driver_connection(conn, "notifications.notify()")
    _lock_inbox(driver, user_id)
    query = """
        WITH added AS (
            INSERT INTO workshed_notifications.notifications (user_id, number, event, data, key)
            SELECT user_id, last + 1, %(event)s, %(data)s, %(key)s
              FROM workshed_notifications.inboxes
             WHERE user_id = %(user_id)s
                ON CONFLICT ON CONSTRAINT notifications_once DO NOTHING
            RETURNING user_id, number
        ), counted AS (
            UPDATE workshed_notifications.inboxes AS i
               SET last = added.number
              FROM added
             WHERE i.user_id = added.user_id
        )
        SELECT number, pg_notify(%(channel)s, number::text) FROM added
    """
    row = {"event": event, "data": to_jsonb(dict(data)), "key": key}
    values = {**row, "user_id": user_id, "channel": channel(user_id)}
    found = driver.execute(query, values).fetchone()
    return found[0] if found else None


def _lock_inbox(conn: Connection, user_id: str) -> None:
    """Lock the user's inbox, which is created if there is none.

    This is a statement of its own, so that the next one sees what was committed while this one
    waited. It updates no row, but locks it.
    """
    query = """
        INSERT INTO workshed_notifications.inboxes (user_id)
        VALUES (%s)
            ON CONFLICT (user_id) DO UPDATE SET last = 0 WHERE false
    """
    conn.execute(query, (user_id,))


def after(conn: Connection, user_id: str, number: int, limit: int) -> list[Notification]:
    """Return a user's notifications after this number, the oldest first, at most `limit`."""
    values = {"user_id": user_id, "number": number, "limit": limit}
    with conn.cursor(row_factory=class_row(Notification)) as cur:
        return cur.execute(SELECT_AFTER, values).fetchall()


def last_number(conn: Connection, user_id: str) -> int:
    """Return the number of a user's latest notification; 0 if there is none."""
    found = conn.execute(SELECT_LAST, (user_id,)).fetchone()
    return found[0] if found else 0


def delete_of(conn: SyncConnection, user_id: str) -> int:
    """Delete all notifications of a user; return how many.

    Call this in the transaction that deletes the user, after that deletion, so that no notification
    is stored in between. `conn` is of any kind that `notify` takes.
    """
    driver = driver_connection(conn, "notifications.delete_of()")
    driver.execute("DELETE FROM workshed_notifications.inboxes WHERE user_id = %s", (user_id,))
    query = "DELETE FROM workshed_notifications.notifications WHERE user_id = %s"
    return driver.execute(query, (user_id,)).rowcount


def prune_notifications(conn: Connection, older_than: timedelta, limit: int) -> int:
    """Delete old notifications, at most `limit`; return how many.

    Inboxes keep their numbers, so no number is used twice.
    """
    table = "workshed_notifications.notifications"
    return delete_old_rows(conn, table, "created_at", older_than, limit)
