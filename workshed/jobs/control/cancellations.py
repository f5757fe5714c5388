"""Cancelled messages: the row is deleted, and a tombstone stops copies that are on their way."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Literal

from workshed.db import Connection
from workshed.jobs.batches import batches
from workshed.jobs.idempotency import settled
from workshed.jobs.locks import unique
from workshed.jobs.tags import Traits

Cancelled = Literal["deleted", "will be skipped", "told to stop"]


def cancel(conn: Connection, message_id: str) -> Cancelled:
    """Let a message not run, or not again.

    `deleted`: it waited, and no copy of it is on RabbitMQ. `will be skipped`: it is on its way, or
    was sent without a row; it is skipped when it starts, also by workers that hold it, and told to
    stop where it runs (within 2 s). `told to stop`: a worker that runs it has told it already. One
    that has run is not touched.
    """
    query = """
        DELETE FROM jobs.schedule
         WHERE message_id = %s
           AND taken_by IS NULL AND sent_at IS NULL AND NOT again AND reason <> 'lease'
        RETURNING hop, position('"batch"' IN body) > 0
    """
    # Its worker may store the next hop just now; it asks under this lock, `jobs.was_cancelled`.
    conn.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 6))", (message_id,))
    gone: dict[int, bool] = dict(conn.execute(query, (message_id,)).fetchall())
    # A row that stays brings the message to a worker, which skips it and frees what it holds.
    whole = bool(gone) and not _has_row(conn, message_id)
    told = _bury(conn, message_id, reached=not whole)
    if whole:
        hop = max(gone)
        settled.settle(conn, message_id, hop)
        unique.free(conn, message_id, hop)
        if gone[hop]:
            batches.end(conn, message_id, "cancelled")
        return "deleted"
    return "told to stop" if told else "will be skipped"


def is_cancelled(conn: Connection, message_id: str) -> bool:
    """Tell whether a message was cancelled."""
    query = "SELECT FROM jobs.tombstones WHERE message_id = %s"
    return conn.execute(query, (message_id,)).rowcount > 0


def why(conn: Connection, message_id: str, traits: Traits) -> str | None:
    """Say by what a message was cancelled that is about to be put back on its way, if it was."""
    query = """
        SELECT jobs.was_cancelled(%(message_id)s), jobs.cancelling_rule(
               %(actor)s, %(queue)s, %(tags)s, %(sent_ms)s)
    """
    values = {"message_id": message_id, **traits.values}
    found = conn.execute(query, values).fetchone()
    assert found is not None  # noqa: S101 -- one row by construction
    by_id, rule = found
    return "cancelled" if by_id else None if rule is None else f"cancelled by rule {rule}"


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


def told(conn: Connection, message_ids: Sequence[str]) -> None:
    """Note that these run, and know now that they were cancelled."""
    query = "UPDATE jobs.tombstones SET told_at = jobs.now() WHERE message_id = ANY(%s)"
    conn.execute(query, (list(message_ids),))


def who_were_told(conn: Connection, message_ids: Sequence[str]) -> set[str]:
    """Return those of cancelled messages that ran, and know it."""
    query = """
        SELECT message_id FROM jobs.tombstones
         WHERE message_id = ANY(%s) AND told_at IS NOT NULL
    """
    return {message_id for (message_id,) in conn.execute(query, (list(message_ids),))}


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


def _bury(conn: Connection, message_id: str, *, reached: bool) -> bool:
    """Write the tombstone; tell whether its job has heard of an earlier one."""
    query = """
        INSERT INTO jobs.tombstones (message_id, reached) VALUES (%(message_id)s, %(reached)s)
        ON CONFLICT (message_id) DO UPDATE
           SET cancelled_at = jobs.now(), xid = EXCLUDED.xid,
               reached = tombstones.reached OR EXCLUDED.reached
        RETURNING told_at IS NOT NULL
    """
    found = conn.execute(query, {"message_id": message_id, "reached": reached}).fetchone()
    return found is not None and bool(found[0])
