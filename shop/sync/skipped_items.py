"""Items of listings that cannot be synced: they are skipped, and listed for operators."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from shop.sync.schemas import SkippedEntry
from workshed.db import Connection

logger = logging.getLogger(__name__)

MAX_STORED = 1_000
"""At most so many skipped items are stored per source; others are only counted."""


@dataclass(frozen=True, slots=True)
class SkippedItem:
    """A skipped item, with the time when it was first skipped."""

    item: str
    """The item as JSON, or the beginning of that."""
    reason: str
    since: datetime


def record_skipped(
    conn: Connection, source: str, listing: int, skipped: Sequence[SkippedEntry]
) -> None:
    """Store the skipped items of a page."""
    if not skipped:
        return
    logger.warning(
        "%s: skipped %d items of its listing, the first %s: %s",
        source,
        len(skipped),
        skipped[0].item,
        skipped[0].reason,
    )
    query = """
        INSERT INTO shop.sync_skipped (source, item, reason, listing)
        SELECT DISTINCT ON (item) %(source)s, item, reason, %(listing)s
          FROM unnest(%(items)s::text[], %(reasons)s::text[]) AS one (item, reason)
         WHERE (SELECT count(*) FROM shop.sync_skipped WHERE source = %(source)s) < %(most)s
         ORDER BY item
            ON CONFLICT (source, item)
            DO UPDATE SET reason = excluded.reason, listing = excluded.listing
    """
    values = {
        "source": source,
        "listing": listing,
        "items": [one.item for one in skipped[:MAX_STORED]],
        "reasons": [one.reason for one in skipped[:MAX_STORED]],
        "most": MAX_STORED,
    }
    conn.execute(query, values)


def delete_outdated(conn: Connection, source: str, listing: int) -> None:
    """Delete skipped items that a newer complete listing does not have."""
    query = "DELETE FROM shop.sync_skipped WHERE source = %s AND listing < %s"
    conn.execute(query, (source, listing))


def list_skipped(conn: Connection, source: str) -> list[SkippedItem]:
    """Return the skipped items of a source, the oldest first."""
    query = """
        SELECT item, reason, since FROM shop.sync_skipped WHERE source = %s ORDER BY since, item
    """
    with conn.cursor(row_factory=class_row(SkippedItem)) as cur:
        return cur.execute(query, (source,)).fetchall()
