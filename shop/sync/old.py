"""Forget what the log says, and records that are gone, after a while."""

from datetime import timedelta

from workshed.db import Connection
from workshed.pruning import delete_old


def prune(conn: Connection, older_than: timedelta, limit: int) -> int:
    """Delete lines of the log and records that are gone, of each `limit` at most.

    Returns how many of what was more of.
    """
    return max(_lines(conn, older_than, limit), _records(conn, older_than, limit))


def _lines(conn: Connection, older_than: timedelta, limit: int) -> int:
    return delete_old(conn, "shop.sync_log", "at", older_than, limit)


def _records(conn: Connection, older_than: timedelta, limit: int) -> int:
    return delete_old(conn, "shop.sync_records", "deleted_at", older_than, limit)
