"""Delete old lines of the log, and records that were deleted long ago."""

from datetime import timedelta

from workshed.db import Connection
from workshed.pruning import delete_old_rows


def prune_sync_data(conn: Connection, older_than: timedelta, limit: int) -> int:
    """Delete old lines of the log and old deleted records, at most `limit` of each.

    Returns the larger of the two counts.
    """
    return max(_prune_log(conn, older_than, limit), _prune_records(conn, older_than, limit))


def _prune_log(conn: Connection, older_than: timedelta, limit: int) -> int:
    return delete_old_rows(conn, "shop.sync_log", "at", older_than, limit)


def _prune_records(conn: Connection, older_than: timedelta, limit: int) -> int:
    return delete_old_rows(conn, "shop.sync_records", "deleted_at", older_than, limit)
