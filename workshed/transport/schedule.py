"""Send a job in your own database transaction: both commit, or neither."""

from collections.abc import Awaitable, Iterable
from datetime import datetime, timedelta
from typing import TypeVar, overload

import dramatiq

from workshed.database.adapters import (
    AsyncConnection,
    Steps,
    SyncConnection,
    adapter_for,
    run_on,
)
from workshed.database.postgres import Statement
from workshed.jobs.control import cancellations
from workshed.jobs.outbox import schedule as rows
from workshed.transport.base import ORIGIN
from workshed.transport.build import get_broker

__all__ = ["cancel", "find", "move", "run_now", "send", "send_many"]

cancel = cancellations.cancel
run_now = rows.run_now
move = rows.move_job
find = rows.list_scheduled

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
    reason = rows.choose_reason(delay, at)
    message = message.copy(options={"origin": ORIGIN})
    adapter_for(conn)  # refuses others before hooks see the message
    span = delay or timedelta()
    message, statement = get_broker().outbox_statement(message, span, at, reason)
    return run_on(conn, _send_steps(message, statement, span))


def _send_steps(message: Message[R], statement: Statement, span: timedelta) -> Steps[Message[R]]:
    return get_broker().finish_send(message, span, (yield statement))


@overload
def send_many(
    conn: AsyncConnection,
    messages: Iterable[Message[R]],
    *,
    delay: timedelta | None = None,
    at: datetime | None = None,
) -> Awaitable[list[Message[R]]]: ...


@overload
def send_many(
    conn: SyncConnection,
    messages: Iterable[Message[R]],
    *,
    delay: timedelta | None = None,
    at: datetime | None = None,
) -> list[Message[R]]: ...


def send_many(
    conn: SyncConnection | AsyncConnection,
    messages: Iterable[Message[R]],
    *,
    delay: timedelta | None = None,
    at: datetime | None = None,
) -> list[Message[R]] | Awaitable[list[Message[R]]]:
    """Store messages in the caller's transaction as `send` does, up to 500 in one statement.

    `schedule.send_many(conn, (remind.message(user_id) for user_id in user_ids))`. Returns a message
    for each, in their order, and raises like `send`. If one is refused, none is stored. Unique jobs
    are stored one by one; of several with the same key the first is stored.
    """
    reason = rows.choose_reason(delay, at)
    own = [message.copy(options={"origin": ORIGIN}) for message in messages]
    return run_on(conn, get_broker().outbox_statements(own, delay or timedelta(), at, reason))
