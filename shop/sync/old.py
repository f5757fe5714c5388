"""Delete old lines of the log, and records that were deleted long ago."""

from datetime import timedelta

from workshed.db import Connection
from workshed.pruning import delete_old


def prune(conn: Connection, older_than: timedelta, limit: int) -> int:
    """Delete old lines of the log and old deleted records, at most `limit` of each.

    Returns the larger of the two counts.
    """
    return max(_lines(conn, older_than, limit), _records(conn, older_than, limit))


def _lines(conn: Connection, older_than: timedelta, limit: int) -> int:
    return delete_old(conn, "shop.sync_log", "at", older_than, limit)


def _records(conn: Connection, older_than: timedelta, limit: int) -> int:
    return delete_old(conn, "shop.sync_records", "deleted_at", older_than, limit)
