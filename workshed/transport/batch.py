"""Jobs that belong together, and the callbacks that are sent once all of them have ended."""

from collections.abc import Awaitable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, overload
from uuid import UUID, uuid4

import dramatiq

from workshed.database.adapters import (
    AsyncConnection,
    Steps,
    SyncConnection,
    adapter_for,
    run_in_transaction,
    run_on,
)
from workshed.database.postgres import Connection, Statement
from workshed.errors import UnknownConnectionError, WorkshedError
from workshed.jobs import context as current
from workshed.jobs.batches import batches
from workshed.jobs.batches import progress as batch_rows
from workshed.jobs.batches.batches import BatchEvent
from workshed.jobs.batches.progress import BatchProgress
from workshed.jobs.outbox.schedule import OutboxRow, choose_reason
from workshed.transport.base import ORIGIN
from workshed.transport.build import get_broker
from workshed.transport.messages.envelope import encode_message
from workshed.transport.publishing.outgoing import (
    Message,
    awaiting_key,
    key_claim,
)

BatchCallback = Message | dramatiq.Actor[..., Any] | None
"""A callback: a message, or an actor that is sent the ID of the batch."""

NO_DELAY = timedelta()


class BatchError(WorkshedError):
    """There is no such batch, or it takes no more jobs."""

    def __init__(self, message: str, batch: str | None = None) -> None:
        """Keep the ID of the batch, if there is one."""
        super().__init__(message)
        self.batch = batch


class Batch:
    """Jobs that belong together: added in your transactions, and counted as they end.

        with db.transaction() as conn:
            batch = Batch(on_success=report.message(7), description="June's invoices")
            with batch.adding(conn):
                batch.add(conn, *(invoice.message(n) for n in numbers))

    Each callback is sent once, in the transaction that stores the outcome which triggers it:
    `on_death` with the first job that dies, `on_complete` when all jobs have ended, and
    `on_success` when all have succeeded. A discarded job counts as succeeded, because nothing was
    left to do; a dead or cancelled one does not. Dead jobs that are retried are counted again.

    `conn` is any connection that `schedule.send` takes. On an asyncio one, write `async with
    batch.adding(conn):`, and await `open`, `add`, `close` and `cancel`.
    """

    def __init__(
        self,
        *,
        on_success: BatchCallback = None,
        on_complete: BatchCallback = None,
        on_death: BatchCallback = None,
        description: str = "",
    ) -> None:
        """Create a batch, which `open` or `adding` stores; `description` is for people."""
        self.id = str(uuid4())
        self.description = description
        given: dict[BatchEvent, BatchCallback] = {
            "success": on_success,
            "complete": on_complete,
            "death": on_death,
        }
        self._callbacks = {
            event: callback for event, callback in given.items() if callback is not None
        }

    @classmethod
    def with_id(cls, batch_id: str) -> "Batch":
        """Return an existing batch; raises `ValueError` if the ID is not a UUID."""
        found = cls()
        found.id = str(UUID(batch_id))
        return found

    @classmethod
    def current(cls) -> "Batch":
        """Return the batch that the running job belongs to, or whose callback it is.

        Raises `BatchError` if there is none.
        """
        job = current.current_job()
        if job is None or job.batch is None:
            raise BatchError("there is no batch here: no job or callback of one is running")
        return cls.with_id(job.batch)

    def adding(self, conn: SyncConnection | AsyncConnection) -> "BatchAddition":
        """Open the batch, and close it after the block; only then can it complete.

        A batch without jobs completes at once, with success. `with batch.adding(conn):`, or `async
        with` on an asyncio connection.
        """
        return BatchAddition(self, conn)

    @overload
    def open(self, conn: AsyncConnection) -> Awaitable[None]: ...

    @overload
    def open(self, conn: SyncConnection) -> None: ...

    def open(self, conn: SyncConnection | AsyncConnection) -> Awaitable[None] | None:
        """Store the batch; any transaction can add jobs to it until it is closed."""
        rows = {
            event: _callback_row(callback, self.id) for event, callback in self._callbacks.items()
        }
        return run_on(conn, _execute(batches.open_statement(self.id, self.description, rows)))

    @overload
    def add(
        self,
        conn: AsyncConnection,
        *messages: Message,
        delay: timedelta | None = None,
        at: datetime | None = None,
    ) -> Awaitable[list[Message]]: ...

    @overload
    def add(
        self,
        conn: SyncConnection,
        *messages: Message,
        delay: timedelta | None = None,
        at: datetime | None = None,
    ) -> list[Message]: ...

    def add(
        self,
        conn: SyncConnection | AsyncConnection,
        *messages: Message,
        delay: timedelta | None = None,
        at: datetime | None = None,
    ) -> list[Message] | Awaitable[list[Message]]:
        """Store messages as jobs of the batch in the caller's transaction, like `schedule.send`.

        A running job of the batch may add jobs even after the batch was closed. A unique job whose
        key another job has is not stored; the message returned has that job's ID, and that job does
        not join the batch. Raises `BatchError` if the batch is cancelled or closed,
        `OpenTransactionError` if `conn` has no transaction open, and `WorkshedError` as
        `schedule.send` does.
        """
        reason, job = choose_reason(delay, at), current.current_job()
        adder = None if job is None else job.message_id
        mine = [message.copy(options={"origin": ORIGIN, "batch": self.id}) for message in messages]
        stored = get_broker().outbox_statements(mine, delay or NO_DELAY, at, reason)
        return run_in_transaction(conn, _add_steps(self.id, adder, mine, stored), "Batch.add()")

    @overload
    def close(self, conn: AsyncConnection) -> Awaitable[bool]: ...

    @overload
    def close(self, conn: SyncConnection) -> bool: ...

    def close(self, conn: SyncConnection | AsyncConnection) -> bool | Awaitable[bool]:
        """Allow only the batch's own jobs to add more; returns False if it was closed already."""
        return run_on(conn, _is_true(batches.close_statement(self.id)))

    @overload
    def cancel(self, conn: AsyncConnection) -> Awaitable[bool]: ...

    @overload
    def cancel(self, conn: SyncConnection) -> bool: ...

    def cancel(self, conn: SyncConnection | AsyncConnection) -> bool | Awaitable[bool]:
        """Cancel the batch: none of its jobs starts any more, and none can be added.

        Running jobs are asked to stop, and are not retried. `on_complete` is sent when all have
        ended, `on_success` never. Returns False if all have ended already, or without a batch.
        """
        return run_on(conn, _is_true(batches.cancel_statement(self.id)))

    def progress(self, conn: Connection) -> BatchProgress:
        """Return how many of its jobs are in which state; raises `BatchError` without a batch."""
        found = batch_rows.get_progress(conn, self.id)
        if found is None:
            raise BatchError(f"there is no batch {self.id}", self.id)
        return found


class BatchAddition:
    """Adds jobs to a new batch: opens it before a block, and closes it after one without error."""

    def __init__(self, batch: Batch, conn: Any) -> None:
        """Take the connection of the caller's transaction."""
        self._batch = batch
        self._conn = conn

    def __enter__(self) -> Batch:
        """Open it."""
        if adapter_for(self._conn).is_async:
            raise UnknownConnectionError(
                "on an asyncio connection, write `async with batch.adding(conn):`"
            )
        self._batch.open(self._conn)
        return self._batch

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        """Close it, unless the block failed."""
        if error is None:
            self._batch.close(self._conn)

    async def __aenter__(self) -> Batch:
        """Open it."""
        if not adapter_for(self._conn).is_async:
            raise UnknownConnectionError(
                "on this connection, which is not an asyncio one, write `with batch.adding(conn):`"
            )
        await self._batch.open(self._conn)
        return self._batch

    async def __aexit__(self, error: type[BaseException] | None, *_: object) -> None:
        """Close it, unless the block failed."""
        if error is None:
            await self._batch.close(self._conn)


def _execute(statement: Statement) -> Steps[None]:
    yield statement


def _add_steps(
    batch: str, adder: str | None, given: list[Message], stored: Steps[list[Message]]
) -> Steps[list[Message]]:
    if problem := (yield batches.refusal_statement(batch, adder)):
        raise BatchError(f"no job can be added to batch {batch}: {problem}", batch)
    sent = yield from stored
    joined = [
        one.message_id
        for one, wanted in zip(sent, given, strict=True)
        if one.message_id == wanted.message_id
    ]
    yield batches.join_statement(batch, joined)
    return sent


def _is_true(statement: Statement) -> Steps[bool]:
    return (yield statement) == "true"


def _callback_row(callback: Message | dramatiq.Actor[..., Any], batch: str) -> OutboxRow:
    """Return the outbox row that a callback becomes when it is sent."""
    message: Message = callback.message(batch) if isinstance(callback, dramatiq.Actor) else callback
    message = message.copy(options={"origin": ORIGIN, "callback_of": batch})
    message, row = get_broker().prepare_row(message, NO_DELAY, None, "transactional")
    if key_claim(message, NO_DELAY) is None:
        return row
    # It is sent even if another job has its key then, and takes the key when it starts.
    return replace(row, body=encode_message(awaiting_key(message)).decode())
