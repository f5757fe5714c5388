"""A user's pictures, as shown on their page."""

from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import class_row

PAGE_SIZE = 60
"""Pictures on one page."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An attachment with the variants of its current content."""

    id: int
    filename: str
    refusal: str | None
    variants: list[dict[str, Any]]
    """`sha256`, `width` and `height` of each variant, the oldest first."""


async def list_pictures(
    conn: AsyncConnection[Any], user_id: int, before: int | None
) -> list[Picture]:
    """Return a user's newest attachments, at most `SHOWN`; with `before`, only older ones."""
    query = """
        SELECT a.id, a.filename, a.refusal,
               coalesce((
                   SELECT jsonb_agg(to_jsonb(v) - 'made_at' ORDER BY v.made_at, v.sha256)
                     FROM (SELECT sha256, width, height, min(made_at) AS made_at
                             FROM shop.image_variants
                            WHERE original = a.sha256
                            GROUP BY sha256, width, height) AS v
               ), '[]') AS variants
          FROM shop.attachments AS a
         WHERE a.user_id = %(user_id)s AND (%(before)s::bigint IS NULL OR a.id < %(before)s)
         ORDER BY a.id DESC
         LIMIT %(limit)s
    """
    values = {"user_id": user_id, "before": before, "limit": PAGE_SIZE}
    async with conn.cursor(row_factory=class_row(Picture)) as cur:
        await cur.execute(query, values)
        return await cur.fetchall()


async def find_media_type(conn: AsyncConnection[Any], user_id: int, sha256: str) -> str | None:
    """Return a variant's media type, if the user has an attachment that it was made from."""
    query = """
        SELECT v.media_type
          FROM shop.image_variants AS v
          JOIN shop.attachments AS a ON a.sha256 = v.original
         WHERE v.sha256 = %(sha256)s AND a.user_id = %(user_id)s
         LIMIT 1
    """
    found = await conn.execute(query, {"sha256": sha256, "user_id": user_id})
    row = await found.fetchone()
    return row[0] if row else None
