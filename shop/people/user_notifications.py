"""Notify a user's browser of what a job has done."""

from collections.abc import Mapping
from typing import Any

from shop.people.users import lock_user
from workshed.contrib import notifications
from workshed.db import Connection


def notify_user(
    conn: Connection, user_id: int, event: str, data: Mapping[str, Any], *, key: str
) -> int | None:
    """Send a notification to a user, once per key, like `notifications.tell`.

    Raises `RecordMissing` if the user was deleted.
    """
    lock_user(conn, user_id)
    return notifications.notify(conn, str(user_id), event, data, key=key)
