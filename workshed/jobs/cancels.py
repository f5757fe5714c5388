"""Cancelled messages: the row is deleted, and a tombstone stops copies that are on their way."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Literal

from workshed.db import Connection
from workshed.jobs import settled, unique

Cancelled = Literal["deleted", "will be skipped"]


def cancel(conn: Connection, message_id: str) -> Cancelled:
    """Let a message not run, or not again.

    `deleted`: it waited, and no copy of it is on RabbitMQ. `will be skipped`: it is on its way, or
    was sent without a row; it is skipped when it starts, also by workers that hold it (within
    2 s). One that runs or has run is not touched.
    """
    query = """
        DELETE FROM jobs.schedule
         WHERE message_id = %s
           AND taken_by IS NULL AND sent_at IS NULL AND NOT again AND reason <> 'lease'
        RETURNING hop
    """
    hops = [hop for (hop,) in conn.execute(query, (message_id,))]
    # A row that stays brings the message to a worker, which skips it and frees what it holds.
    whole = bool(hops) and not _has_row(conn, message_id)
    _bury(conn, message_id, reached=not whole)
    if whole:
        hop = max(hops)
        settled.settle(conn, message_id, hop)
        unique.free(conn, message_id, hop)
        return "deleted"
    return "will be skipped"


def is_cancelled(conn: Connection, message_id: str) -> bool:
    """Tell whether a message was cancelled."""
    query = "SELECT FROM jobs.tombstones WHERE message_id = %s"
    return conn.execute(query, (message_id,)).rowcount > 0


def clear(conn: Connection, message_id: str) -> None:
    """Forget that a message was cancelled: somebody wants it to run after all."""
    conn.execute("DELETE FROM jobs.tombstones WHERE message_id = %s", (message_id,))


def since(conn: Connection, xmin: int) -> tuple[int, Iterator[str]]:
    """Return what was cancelled since `xmin` (0: ever), and the `xmin` to ask with next time.

    By snapshot and not by time: a transaction that began long ago may commit only now.
    """
    found = conn.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text").fetchone()
    assert found is not None  # noqa: S101 -- one row by construction
    query = "SELECT message_id FROM jobs.tombstones WHERE reached AND xid >= %s::text::xid8"
    ids = (message_id for (message_id,) in conn.execute(query, (str(xmin),)))
    return int(found[0]), ids


def prune(conn: Connection, older_than: timedelta, limit: int) -> int:
    """Delete tombstones that no copy can meet any more, at most `limit`; return how many."""
    query = """
        DELETE FROM jobs.tombstones
         WHERE message_id IN (
               SELECT message_id FROM jobs.tombstones
                WHERE cancelled_at < jobs.now() - %(older_than)s
                LIMIT %(limit)s
                  FOR UPDATE SKIP LOCKED)
    """
    return conn.execute(query, {"older_than": older_than, "limit": limit}).rowcount


def _has_row(conn: Connection, message_id: str) -> bool:
    query = "SELECT FROM jobs.schedule WHERE message_id = %s"
    return conn.execute(query, (message_id,)).rowcount > 0


def _bury(conn: Connection, message_id: str, *, reached: bool) -> None:
    query = """
        INSERT INTO jobs.tombstones (message_id, reached) VALUES (%(message_id)s, %(reached)s)
        ON CONFLICT (message_id) DO UPDATE
           SET cancelled_at = jobs.now(), xid = EXCLUDED.xid,
               reached = tombstones.reached OR EXCLUDED.reached
    """
    conn.execute(query, {"message_id": message_id, "reached": reached})
