"""Read notifications from an event loop."""

from collections.abc import Mapping
from typing import Any

from psycopg import AsyncConnection

from workshed.contrib.notifications.notifications import SELECT_AFTER, SELECT_LAST, Notification
from workshed.database.postgres import class_row


async def after(
    conn: AsyncConnection[Any], user_id: str, number: int, limit: int
) -> list[Notification]:
    """Return a user's notifications after this number, the oldest first, at most `limit`."""
    values = {"user_id": user_id, "number": number, "limit": limit}
    async with conn.cursor(row_factory=class_row(Notification)) as cur:
        await cur.execute(SELECT_AFTER, values)
        return await cur.fetchall()


async def last_number(conn: AsyncConnection[Any], user_id: str) -> int:
    """Return the number of a user's latest notification; 0 if there is none."""
    found = await (await conn.execute(SELECT_LAST, (user_id,))).fetchone()
    return found[0] if found else 0


async def users_with_unread(conn: AsyncConnection[Any], seen: Mapping[str, int]) -> list[str]:
    """Return the users who have notifications after the number that they have seen."""
    query = """
        SELECT i.user_id
          FROM unnest(%s::text[], %s::bigint[]) AS reader (user_id, seen)
          JOIN workshed_notifications.inboxes AS i USING (user_id)
         WHERE i.last > reader.seen
    """
    found = await conn.execute(query, (list(seen), list(seen.values())))
    return [user_id for (user_id,) in await found.fetchall()]
