"""Send a job together with your own data: both commit, or neither."""

from collections.abc import Awaitable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any, overload

import dramatiq

from brokers.build import broker
from brokers.connections import AsyncConnection, Kind, SyncConnection, kind_of
from brokers.errors import RefusedOptionError
from workshed.errors import WorkshedError
from workshed.jobs import cancels
from workshed.jobs import schedule as rows
from workshed.jobs.schedule import Statement

cancel = cancels.cancel
run_now = rows.run_now
move = rows.move
find = rows.find

ORIGIN = "transaction"

Message = dramatiq.Message[Any]


# First: a coroutine is also a result of any type, as the other kinds give.
@overload
def send(
    conn: AsyncConnection,
    message: Message,
    *,
    delay: timedelta | None = None,
    at: datetime | None = None,
) -> Awaitable[Message]: ...


@overload
def send(
    conn: SyncConnection,
    message: Message,
    *,
    delay: timedelta | None = None,
    at: datetime | None = None,
) -> Message: ...


def send(
    conn: SyncConnection | AsyncConnection,
    message: Message,
    *,
    delay: timedelta | None = None,
    at: datetime | None = None,
) -> Message | Awaitable[Message]:
    """Store a message in the caller's transaction; a relay sends it once that has committed.

    `schedule.send(conn, send_welcome_email.message(7), delay=timedelta(days=3))`: due after
    `delay`, or at `at` (with a time zone), or at once. What `actor.send` would refuse is refused
    here too, and nothing is stored then.

    `conn` is a connection of psycopg 3, of Django or of SQLAlchemy, or a session of SQLAlchemy. On
    those of asyncio: `await schedule.send(conn, …)`. Others execute `SELECT jobs.send(…)`.
    """
    if delay is not None and at is not None:
        raise WorkshedError("give `delay` or `at`, not both")
    if at is not None and at.tzinfo is None:
        raise WorkshedError(f"`at` needs a time zone: {at.isoformat()}")
    if "unique_key" in message.options:
        raise RefusedOptionError(
            f"{message.actor_name}: unique_key needs its lock beside its row; send it with "
            "`send_with_options`, also with a delay"
        )
    message = message.copy(options={"origin": ORIGIN})
    reason: rows.Reason = "send" if delay is None and at is None else "delay"
    kind = kind_of(conn)
    storing = broker().storing(message, delay or timedelta(), at, reason)
    if kind.waits:
        return _send_async(kind, conn, message, storing)
    with storing as statement:
        kind.execute(conn, statement)
    return message


async def _send_async(
    kind: Kind,
    conn: object,
    message: Message,
    storing: AbstractContextManager[Statement],
) -> Message:
    with storing as statement:
        await kind.execute(conn, statement)
    return message
