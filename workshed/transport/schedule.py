"""Send a job in your own database transaction: both commit, or neither."""

from collections.abc import Awaitable
from datetime import datetime, timedelta
from typing import TypeVar, overload

import dramatiq

from workshed.errors import WorkshedError
from workshed.jobs.control import cancellations
from workshed.jobs.outbox import schedule as rows
from workshed.jobs.outbox.schedule import Statement
from workshed.transport.build import get_broker
from workshed.transport.publishing.adapters import (
    AsyncConnection,
    ConnectionAdapter,
    SyncConnection,
    adapter_for,
)

__all__ = ["cancel", "find", "move", "run_now", "send"]

cancel = cancellations.cancel
run_now = rows.run_now
move = rows.move_job
find = rows.list_scheduled

ORIGIN = "transaction"

R = TypeVar("R")
Message = dramatiq.Message[R]


# This overload comes first, because a coroutine also matches the other one's result type.
@overload
def send(
    conn: AsyncConnection,
    message: Message[R],
    *,
    delay: timedelta | None = None,
    at: datetime | None = None,
) -> Awaitable[Message[R]]: ...


@overload
def send(
    conn: SyncConnection,
    message: Message[R],
    *,
    delay: timedelta | None = None,
    at: datetime | None = None,
) -> Message[R]: ...


def send(
    conn: SyncConnection | AsyncConnection,
    message: Message[R],
    *,
    delay: timedelta | None = None,
    at: datetime | None = None,
) -> Message[R] | Awaitable[Message[R]]:
    """Store a message in the caller's transaction; a relay sends it once that has committed.

    `schedule.send(conn, send_welcome_email.message(7), delay=timedelta(days=3))`: due after
    `delay`, or at `at` (with a time zone), or at once. Messages that `actor.send` would refuse are
    refused here too, and nothing is stored.

    `conn` is a connection of psycopg 3, Django or SQLAlchemy, or a session of SQLAlchemy. With
    their asyncio variants: `await schedule.send(conn, …)`. With any other driver, execute
    `SELECT workshed.send(…)`.

    The key of a unique job is taken in the same transaction. While another job has it, nothing is
    stored, and the message returned has that job's ID, or with `on_conflict="raise"` this raises
    `DuplicateJobError`. Raises `UnknownConnectionError` for any other `conn`, and `WorkshedError`
    for both `delay` and `at`, or an `at` without a time zone.
    """
    if delay is not None and at is not None:
        raise WorkshedError("give `delay` or `at`, not both")
    if at is not None and at.tzinfo is None:
        raise WorkshedError(f"`at` needs a time zone: {at.isoformat()}")
    message = message.copy(options={"origin": ORIGIN})
    reason: rows.Reason = "transactional" if delay is None and at is None else "delayed"
    kind = adapter_for(conn)
    span = delay or timedelta()
    message, statement = get_broker().outbox_statement(message, span, at, reason)
    if kind.is_async:
        return _send_async(kind, conn, message, statement, span)
    return get_broker().finish_send(message, span, kind.execute(conn, statement))


async def _send_async(
    kind: ConnectionAdapter,
    conn: object,
    message: Message[R],
    statement: Statement,
    span: timedelta,
) -> Message[R]:
    return get_broker().finish_send(message, span, await kind.execute(conn, statement))
