"""Cancelled messages: the row is deleted, and a cancellation stops copies on RabbitMQ."""

import json
from collections.abc import Awaitable, Iterator, Sequence
from datetime import timedelta
from typing import Literal, LiteralString, overload

from workshed.database.adapters import AsyncConnection, Steps, SyncConnection, run_in_transaction
from workshed.database.postgres import Connection, Statement
from workshed.jobs.batches import batches
from workshed.jobs.idempotency import completed_generations
from workshed.jobs.locks import unique
from workshed.jobs.tags import CancelTraits
from workshed.pruning import delete_old_rows

CancelResult = Literal["deleted", "will be skipped", "asked to stop"]


@overload
def cancel(conn: AsyncConnection, message_id: str) -> Awaitable[CancelResult]: ...


@overload
def cancel(conn: SyncConnection, message_id: str) -> CancelResult: ...


def cancel(
    conn: SyncConnection | AsyncConnection, message_id: str
) -> CancelResult | Awaitable[CancelResult]:
    """Cancel a message: it does not run, or does not run again.

    Returns `deleted` if it waited and no copy of it is on RabbitMQ. Returns `will be skipped` if it
    is on its way, or was sent without a row: it is skipped when it starts, also by workers that
    hold it, or asked to stop if it runs (within 2 s). Returns `asked to stop` if its worker has
    asked it already. A message that has run is not affected. `conn` is any connection that
    `schedule.send` takes; on an asyncio one, await this. Raises `OpenTransactionError` if it has no
    transaction open.
    """
    return run_in_transaction(conn, _cancel_steps(message_id), "cancel()")


def _cancel_steps(message_id: str) -> Steps[CancelResult]:
    values = {"message_id": message_id}
    # Its worker may be storing the next generation. It checks under this lock too, in
    # `workshed.is_cancelled`.
    yield Statement("SELECT pg_advisory_xact_lock(hashtextextended(%(message_id)s, 6))", values)
    query: LiteralString = """
        WITH gone AS (
            DELETE FROM workshed.schedule
             WHERE message_id = %(message_id)s
               AND claimed_by IS NULL AND sent_at IS NULL AND NOT possible_duplicate
               AND reason <> 'outbox_lease'
            RETURNING generation, position('"batch"' IN body) > 0 AS is_in_batch
        )
        SELECT json_object_agg(generation, is_in_batch)::text FROM gone
    """
    gone: dict[str, bool] = json.loads((yield Statement(query, values)) or "{}")
    # If a row stays, the message reaches a worker, which skips it and releases its locks.
    query = "SELECT count(*) FROM workshed.schedule WHERE message_id = %(message_id)s"
    whole = bool(gone) and (yield Statement(query, values)) == "0"
    query = """
        INSERT INTO workshed.cancellations (message_id, may_be_delivered)
        VALUES (%(message_id)s, %(may_be_delivered)s)
        ON CONFLICT (message_id) DO UPDATE
           SET cancelled_at = workshed.now(), xid = EXCLUDED.xid,
               may_be_delivered = cancellations.may_be_delivered OR EXCLUDED.may_be_delivered
        RETURNING CASE WHEN notified_at IS NOT NULL THEN 'notified' END
    """
    notified = yield Statement(query, {**values, "may_be_delivered": not whole})
    if not whole:
        return "asked to stop" if notified else "will be skipped"
    generation = max(map(int, gone))
    yield completed_generations.completion_statement(message_id, generation)
    yield unique.release_statement(message_id, generation)
    if gone[str(generation)]:
        yield batches.end_statement(message_id, "cancelled")
    return "deleted"


def count_cancellable(conn: Connection, message_ids: Sequence[str]) -> tuple[int, int]:
    """Return how many of these messages `cancel` would delete, and how many others have a row."""
    query = """
        SELECT count(*) FILTER (WHERE waits), count(*) FILTER (WHERE NOT waits)
          FROM (SELECT bool_and(claimed_by IS NULL AND sent_at IS NULL AND NOT possible_duplicate
                                AND reason <> 'outbox_lease') AS waits
                  FROM workshed.schedule
                 WHERE message_id = ANY (%s)
                 GROUP BY message_id) AS found
    """
    [(deleted, others)] = conn.execute(query, (list(message_ids),))
    return int(deleted), int(others)


def is_cancelled(conn: Connection, message_id: str) -> bool:
    """Return whether a message was cancelled."""
    query = "SELECT FROM workshed.cancellations WHERE message_id = %s"
    return conn.execute(query, (message_id,)).rowcount > 0


def cancel_reason(conn: Connection, message_id: str, traits: CancelTraits) -> str | None:
    """Return what cancelled a message that is about to be put back; `None` if nothing did."""
    query = """
        SELECT workshed.is_cancelled(%(message_id)s), workshed.matching_cancel_rule(
               %(actor)s, %(queue)s, %(tags)s, %(sent_ms)s)
    """
    values = {"message_id": message_id, **traits.values}
    found = conn.execute(query, values).fetchone()
    assert found is not None  # noqa: S101 -- one row by construction
    by_id, rule = found
    return "cancelled" if by_id else None if rule is None else f"cancelled by rule {rule}"


def clear_cancellation(conn: Connection, message_id: str) -> None:
    """Delete the cancellation of a message that is being retried."""
    conn.execute("DELETE FROM workshed.cancellations WHERE message_id = %s", (message_id,))


def list_since(conn: Connection, xmin: int) -> tuple[int, Iterator[str]]:
    """Return the messages cancelled since `xmin` (0: ever), and the `xmin` for the next call.

    Uses snapshots instead of times, because a transaction that began long ago may commit only now.
    """
    found = conn.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text").fetchone()
    assert found is not None  # noqa: S101 -- one row by construction
    query = (
        "SELECT message_id FROM workshed.cancellations "
        "WHERE may_be_delivered AND xid >= %s::text::xid8"
    )
    ids = (message_id for (message_id,) in conn.execute(query, (str(xmin),)))
    return int(found[0]), ids


def mark_notified(conn: Connection, message_ids: Sequence[str]) -> None:
    """Record that these jobs are running, and were notified of their cancellation."""
    query = (
        "UPDATE workshed.cancellations SET notified_at = workshed.now() WHERE message_id = ANY(%s)"
    )
    conn.execute(query, (list(message_ids),))


def list_notified(conn: Connection, message_ids: Sequence[str]) -> set[str]:
    """Return those of the messages that were notified of their cancellation while they ran."""
    query = """
        SELECT message_id FROM workshed.cancellations
         WHERE message_id = ANY(%s) AND notified_at IS NOT NULL
    """
    return {message_id for (message_id,) in conn.execute(query, (list(message_ids),))}


def prune_cancellations(conn: Connection, older_than: timedelta, limit: int) -> int:
    """Delete cancellations that no copy can meet any more, at most `limit`; return how many."""
    return delete_old_rows(conn, "workshed.cancellations", "cancelled_at", older_than, limit)
