"""Jobs that belong together, and the callbacks that are sent once all of them have ended."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import dramatiq

from workshed.database.adapters import (
    ConnectionAdapter,
    SyncConnection,
    adapter_for,
    execute_all,
)
from workshed.database.postgres import Connection
from workshed.errors import UnknownConnectionError, WorkshedError
from workshed.jobs import context as current
from workshed.jobs.batches import batches
from workshed.jobs.batches import progress as batch_rows
from workshed.jobs.batches.batches import BatchEvent
from workshed.jobs.batches.progress import BatchProgress
from workshed.jobs.outbox.schedule import OutboxRow, choose_reason
from workshed.transport.build import get_broker
from workshed.transport.messages.envelope import encode_message
from workshed.transport.publishing.outgoing import (
    Message,
    awaiting_key,
    key_claim,
)

BatchCallback = Message | dramatiq.Actor[..., Any] | None
"""A callback: a message, or an actor that is sent the ID of the batch."""

ORIGIN = "transaction"
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

    `conn` is any connection that `schedule.send` takes, except those of asyncio, which raise
    `UnknownConnectionError`.
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
        self._callbacks = {event: told for event, told in given.items() if told is not None}

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

    @contextmanager
    def adding(self, conn: SyncConnection) -> Generator["Batch"]:
        """Open the batch, and close it after the block; only then can it complete.

        A batch without jobs completes at once, with success.
        """
        self.open(conn)
        yield self
        self.close(conn)

    def open(self, conn: SyncConnection) -> None:
        """Store the batch; any transaction can add jobs to it until it is closed."""
        rows = {event: _callback_row(told, self.id) for event, told in self._callbacks.items()}
        _sync_adapter(conn).execute(conn, batches.open_statement(self.id, self.description, rows))

    def add(
        self,
        conn: SyncConnection,
        *messages: Message,
        delay: timedelta | None = None,
        at: datetime | None = None,
    ) -> list[Message]:
        """Store messages as jobs of the batch in the caller's transaction, like `schedule.send`.

        A running job of the batch may add jobs even after the batch was closed. A unique job whose
        key another job has is not stored; the message returned has that job's ID, and that job does
        not join the batch. Raises `BatchError` if the batch is cancelled or closed, and
        `WorkshedError` as `schedule.send` does.
        """
        reason = choose_reason(delay, at)
        kind, job = _sync_adapter(conn), current.current_job()
        adder = None if job is None else job.message_id
        if problem := kind.execute(conn, batches.refusal_statement(self.id, adder)):
            raise BatchError(f"no job can be added to batch {self.id}: {problem}", self.id)
        mine = [message.copy(options={"origin": ORIGIN, "batch": self.id}) for message in messages]
        steps = get_broker().outbox_statements(mine, delay or NO_DELAY, at, reason)
        sent = execute_all(kind, conn, steps)
        joined = [
            one.message_id
            for one, given in zip(sent, mine, strict=True)
            if one.message_id == given.message_id
        ]
        kind.execute(conn, batches.join_statement(self.id, joined))
        return sent

    def close(self, conn: SyncConnection) -> bool:
        """Allow only the batch's own jobs to add more; returns False if it was closed already."""
        return bool(_sync_adapter(conn).execute(conn, batches.close_statement(self.id)) == "true")

    def cancel(self, conn: SyncConnection) -> bool:
        """Cancel the batch: none of its jobs starts any more, and none can be added.

        Running jobs are asked to stop, and are not retried. `on_complete` is sent when all have
        ended, `on_success` never. Returns False if all have ended already, or without a batch.
        """
        return bool(_sync_adapter(conn).execute(conn, batches.cancel_statement(self.id)) == "true")

    def progress(self, conn: Connection) -> BatchProgress:
        """Return how many of its jobs are in which state; raises `BatchError` without a batch."""
        found = batch_rows.get_progress(conn, self.id)
        if found is None:
            raise BatchError(f"there is no batch {self.id}", self.id)
        return found


def _callback_row(told: Message | dramatiq.Actor[..., Any], batch: str) -> OutboxRow:
    """Return the outbox row that a callback becomes when it is sent."""
    message: Message = told.message(batch) if isinstance(told, dramatiq.Actor) else told
    message = message.copy(options={"origin": ORIGIN, "callback_of": batch})
    message, row = get_broker().prepare_row(message, NO_DELAY, None, "transactional")
    if key_claim(message, NO_DELAY) is None:
        return row
    # It is sent even if another job has its key then, and takes the key when it starts.
    return replace(row, body=encode_message(awaiting_key(message)).decode())


def _sync_adapter(conn: SyncConnection) -> ConnectionAdapter:
    kind = adapter_for(conn)
    if kind.is_async:
        raise UnknownConnectionError(
            "a batch needs a synchronous connection; in an event loop, use it in a thread: "
            "await asyncio.to_thread(…)"
        )
    return kind
