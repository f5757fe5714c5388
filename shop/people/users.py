"""The users of the product, and how far each has come with signing up."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

from psycopg.rows import class_row

from shop.people import names
from shop.people.errors import AddressTakenError
from workshed.contrib.mail import addresses
from workshed.db import Connection
from workshed.jobs import RecordMissing


@dataclass(frozen=True, slots=True)
class User:
    """A row of `shop.users`."""

    id: int
    name: str
    email: str
    created_at: datetime
    welcomed_at: datetime | None
    activated_at: datetime | None
    unsubscribed_at: datetime | None
    reminder_id: str | None


def is_reminder_due(user: User) -> bool:
    """Return whether a reminder makes sense: the user is welcomed, not active, still subscribed."""
    return bool(user.welcomed_at and not user.activated_at and not user.unsubscribed_at)


def create(conn: Connection, *, name: str, email: str) -> User:
    """Store a user.

    Raises `InvalidNameError`, `InvalidAddressError` or `AddressTakenError`; the transaction stays
    usable after each of them.
    """
    query = """
        INSERT INTO shop.users (name, email)
        VALUES (%(name)s, %(email)s)
            ON CONFLICT (lower(email)) DO NOTHING
        RETURNING id, name, email, created_at, welcomed_at, activated_at, unsubscribed_at,
                  reminder_id
    """
    row = {"name": names.normalize(name), "email": addresses.normalize_address(email)}
    with conn.cursor(row_factory=class_row(User)) as cur:
        user = cur.execute(query, row).fetchone()
    if user is None:
        raise AddressTakenError(row["email"])
    return user


def get_user(conn: Connection, user_id: int) -> User:
    """Return a user; raises `RecordMissing` if there is none."""
    query = """
        SELECT id, name, email, created_at, welcomed_at, activated_at, unsubscribed_at,
               reminder_id
          FROM shop.users
         WHERE id = %s
    """
    user = _fetch_user(conn, query, user_id)
    if user is None:
        raise RecordMissing("user", user_id)
    return user


def lock_user(conn: Connection, user_id: int) -> User:
    """Return a user, who cannot be deleted until this transaction ends.

    Use it before you store something that has their id without a foreign key, such as an email or a
    notification. Raises `RecordMissing` if there is none.
    """
    query = """
        SELECT id, name, email, created_at, welcomed_at, activated_at, unsubscribed_at,
               reminder_id
          FROM shop.users
         WHERE id = %s
           FOR KEY SHARE
    """
    user = _fetch_user(conn, query, user_id)
    if user is None:
        raise RecordMissing("user", user_id)
    return user


def find_users(conn: Connection, user_ids: Sequence[int]) -> dict[int, User]:
    """Return users by id; missing users are left out."""
    query = """
        SELECT id, name, email, created_at, welcomed_at, activated_at, unsubscribed_at,
               reminder_id
          FROM shop.users
         WHERE id = ANY (%s)
    """
    with conn.cursor(row_factory=class_row(User)) as cur:
        return {user.id: user for user in cur.execute(query, (list(user_ids),))}


def find_by_address(conn: Connection, address: str) -> User | None:
    """Return the user with an address, in upper or lower case; `None` if there is none."""
    query = """
        SELECT id, name, email, created_at, welcomed_at, activated_at, unsubscribed_at,
               reminder_id
          FROM shop.users
         WHERE lower(email) = lower(%s)
    """
    return _fetch_user(conn, query, address)


def lock_admins(conn: Connection) -> list[User]:
    """Return the admins who have activated their account, ordered by id.

    None of them can be deleted until this transaction ends, as with `lock`.
    """
    query = """
        SELECT id, name, email, created_at, welcomed_at, activated_at, unsubscribed_at,
               reminder_id
          FROM shop.users
         WHERE admin AND activated_at IS NOT NULL
         ORDER BY id
           FOR KEY SHARE
    """
    with conn.cursor(row_factory=class_row(User)) as cur:
        return cur.execute(query).fetchall()


def mark_welcomed(conn: Connection, user_id: int, reminder_id: str) -> None:
    """Record that the welcome email was sent, and the message id of the scheduled reminder."""
    query = """
        UPDATE shop.users
           SET welcomed_at = workshed.now(), reminder_id = %(reminder_id)s
         WHERE id = %(id)s AND welcomed_at IS NULL
    """
    conn.execute(query, {"id": user_id, "reminder_id": reminder_id})


def mark_activated(conn: Connection, user_id: int) -> str | None:
    """Record that the user is active; return the message id of the reminder to cancel, if any.

    Only the first call returns one. Raises `RecordMissing`.
    """
    query = """
        UPDATE shop.users
           SET activated_at = workshed.now()
         WHERE id = %s AND activated_at IS NULL
        RETURNING reminder_id
    """
    row = conn.execute(query, (user_id,)).fetchone()
    if row is None:
        get_user(conn, user_id)  # nothing to do, unless there is no such user
    return row[0] if row else None


def mark_unsubscribed(conn: Connection, user_id: int) -> str | None:
    """Record that the user wants no reminders and no campaigns; otherwise like `activate_user`."""
    query = """
        UPDATE shop.users
           SET unsubscribed_at = workshed.now()
         WHERE id = %s AND unsubscribed_at IS NULL
        RETURNING reminder_id
    """
    row = conn.execute(query, (user_id,)).fetchone()
    if row is None:
        get_user(conn, user_id)  # nothing to do, unless there is no such user
    return row[0] if row else None


def _fetch_user(conn: Connection, query: LiteralString, value: object) -> User | None:
    with conn.cursor(row_factory=class_row(User)) as cur:
        return cur.execute(query, (value,)).fetchone()
