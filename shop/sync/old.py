"""Forget what the log says, and records that are gone, after a while."""

from datetime import timedelta

from workshed.db import Connection


def prune(conn: Connection, older_than: timedelta, limit: int) -> int:
    """Delete lines of the log and records that are gone, of each `limit` at most.

    Returns how many of what was more of.
    """
    return max(_lines(conn, older_than, limit), _records(conn, older_than, limit))


def _lines(conn: Connection, older_than: timedelta, limit: int) -> int:
    query = """
        DELETE FROM shop.sync_log
         WHERE id IN (SELECT id FROM shop.sync_log
                       WHERE at < workshed.now() - %(older_than)s
                       ORDER BY at
                       LIMIT %(limit)s
                         FOR UPDATE SKIP LOCKED)
    """
    return conn.execute(query, {"older_than": older_than, "limit": limit}).rowcount


def _records(conn: Connection, older_than: timedelta, limit: int) -> int:
    query = """
        DELETE FROM shop.sync_records
         WHERE (source, external_id) IN (
               SELECT source, external_id FROM shop.sync_records
                WHERE deleted_at < workshed.now() - %(older_than)s
                ORDER BY deleted_at
                LIMIT %(limit)s
                  FOR UPDATE SKIP LOCKED)
    """
    return conn.execute(query, {"older_than": older_than, "limit": limit}).rowcount
