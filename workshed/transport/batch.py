"""Jobs that belong together, and what is sent once all of them have come to their end."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import dramatiq

from workshed.db import Connection
from workshed.errors import WorkshedError
from workshed.jobs import context as current
from workshed.jobs.batches import batches
from workshed.jobs.batches import progress as batch_rows
from workshed.jobs.batches.batches import Event
from workshed.jobs.batches.progress import BatchProgress
from workshed.jobs.locks import unique
from workshed.jobs.outbox import schedule
from workshed.jobs.outbox.schedule import OutboxRow, Reason
from workshed.transport.build import broker
from workshed.transport.errors import UnknownConnectionError
from workshed.transport.messages.envelope import encode
from workshed.transport.publishing.adapters import ConnectionAdapter, SyncConnection, adapter_for
from workshed.transport.publishing.outgoing import (
    Message,
    awaiting_key,
    awaiting_key_body,
    key_claim,
)

Told = Message | dramatiq.Actor[..., Any] | None
"""A message that is sent, or an actor, to which the id of the batch is sent."""

ORIGIN = "transaction"
WINDOW = 500
"""Rows of one statement."""
NOW = timedelta()


class BatchError(WorkshedError):
    """What was asked of a batch cannot be: it is not there, or has all it will ever have."""

    def __init__(self, message: str, batch: str | None = None) -> None:
        """Keep the id of the batch, where there is one."""
        super().__init__(message)
        self.batch = batch


class Batch:
    """Jobs that belong together: added in your transactions, counted one by one as they end.

        with db.transaction() as conn:
            batch = Batch(on_success=report.message(7), description="June's invoices")
            with batch.adding(conn):
                batch.add(conn, *(invoice.message(n) for n in numbers))

    Each callback is sent once, together with the outcome that it follows from: `on_death` with the
    first job that dies, `on_complete` when all have come to an end, and `on_success` when they have
    with success. A job that was discarded had nothing left to do, which is success; one that died,
    or that somebody cancelled, has not succeeded. Dead jobs that are retried are counted again.

    `conn` is one that `schedule.send` takes, but none of asyncio: `UnknownConnectionError`.
    """

    def __init__(
        self,
        *,
        on_success: Told = None,
        on_complete: Told = None,
        on_death: Told = None,
        description: str = "",
    ) -> None:
        """Store nothing yet. `description` is for the people who watch it."""
        self.id = str(uuid4())
        self.description = description
        given: dict[Event, Told] = {
            "success": on_success,
            "complete": on_complete,
            "death": on_death,
        }
        self._told = {event: told for event, told in given.items() if told is not None}

    @classmethod
    def with_id(cls, batch_id: str) -> "Batch":
        """Return a batch that was made before; `ValueError` for what is no id."""
        found = cls()
        found.id = str(UUID(batch_id))
        return found

    @classmethod
    def current(cls) -> "Batch":
        """Return the batch of the job that runs here, or whose callback it is.

        Raises `BatchError` where there is none.
        """
        job = current.current_job()
        if job is None or job.batch is None:
            raise BatchError("there is no batch here: no job of one runs, and no callback")
        return cls.with_id(job.batch)

    @contextmanager
    def adding(self, conn: SyncConnection) -> Generator["Batch"]:
        """Open the batch, and close it after the block: not before is it complete.

        Without jobs it is complete at once, and has succeeded.
        """
        self.open(conn)
        yield self
        self.close(conn)

    def open(self, conn: SyncConnection) -> None:
        """Store it; what is added in any transaction belongs to it until it is closed."""
        rows = {event: _callback(told, self.id) for event, told in self._told.items()}
        _kind(conn).execute(conn, batches.open_statement(self.id, self.description, rows))

    def add(
        self,
        conn: SyncConnection,
        *messages: Message,
        delay: timedelta | None = None,
        at: datetime | None = None,
    ) -> list[Message]:
        """Store messages in the caller's transaction, as `schedule.send` does, as its jobs.

        A job of the batch may do so while it runs, also after the batch was closed. Of a unique
        job whose key another job has, nothing is stored, and the message returned has the id of
        that job, which does not become one of the batch. Raises `BatchError` where the batch was
        cancelled, or is closed, and `WorkshedError` as `schedule.send` does.
        """
        if delay is not None and at is not None:
            raise WorkshedError("give `delay` or `at`, not both")
        if at is not None and at.tzinfo is None:
            raise WorkshedError(f"`at` needs a time zone: {at.isoformat()}")
        kind, job = _kind(conn), current.current_job()
        adder = None if job is None else job.message_id
        if problem := kind.execute(conn, batches.refusal_statement(self.id, adder)):
            raise BatchError(f"no job can be added to batch {self.id}: {problem}", self.id)
        reason: Reason = "transactional" if delay is None and at is None else "delayed"
        return [
            sent
            for window in _windows(messages)
            for sent in self._store(kind, conn, window, delay or NOW, at, reason)
        ]

    def close(self, conn: SyncConnection) -> bool:
        """Let only its own jobs add to it from now on; False where it was closed before."""
        return bool(_kind(conn).execute(conn, batches.close_statement(self.id)) == "true")

    def cancel(self, conn: SyncConnection) -> bool:
        """Let none of its jobs start from now on; False where all have ended, or it is not there.

        One that runs is told to stop, and is not tried again. Nothing can be added. `on_complete`
        is sent when all have ended, and `on_success` never.
        """
        return bool(_kind(conn).execute(conn, batches.cancel_statement(self.id)) == "true")

    def progress(self, conn: Connection) -> BatchProgress:
        """Return how many of its jobs are in which state; raises `BatchError` without a batch."""
        found = batch_rows.get_progress(conn, self.id)
        if found is None:
            raise BatchError(f"there is no batch {self.id}", self.id)
        return found

    def _store(
        self,
        kind: ConnectionAdapter,
        conn: SyncConnection,
        messages: Sequence[Message],
        delay: timedelta,
        at: datetime | None,
        reason: Reason,
    ) -> list[Message]:
        """Store a window: those with keys one by one, the others in one statement."""
        mine = {"origin": ORIGIN, "batch": self.id}
        ready = [
            broker().prepared(message.copy(options=mine), delay, at, reason) for message in messages
        ]
        plain = [row for message, row in ready if key_claim(message, NOW) is None]
        if plain:
            kind.execute(conn, schedule.insert_many_statement(plain, delay, at))
        sent, joined = [], []
        for message, row in ready:
            holder, claim = None, key_claim(message, NOW)
            if claim is not None:
                later = awaiting_key_body(message)
                holder = kind.execute(
                    conn, unique.insert_with_key_statement(row, claim, delay, at, later)
                )
            sent.append(broker().stored(message, delay, holder))
            if sent[-1].message_id == message.message_id:
                joined.append(message.message_id)
        kind.execute(conn, batches.join_statement(self.id, joined))
        return sent


def _callback(told: Message | dramatiq.Actor[..., Any], batch: str) -> OutboxRow:
    """Make the row that a callback will be once it is sent."""
    message: Message = told.message(batch) if isinstance(told, dramatiq.Actor) else told
    message = message.copy(options={"origin": ORIGIN, "callback_of": batch})
    message, row = broker().prepared(message, NOW, None, "transactional")
    if key_claim(message, NOW) is None:
        return row
    # It is sent no matter who has its key then, and takes it when it starts.
    return replace(row, body=encode(awaiting_key(message)).decode())


def _windows(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    for start in range(0, len(messages), WINDOW):
        yield messages[start : start + WINDOW]


def _kind(conn: SyncConnection) -> ConnectionAdapter:
    kind = adapter_for(conn)
    if kind.waits:
        raise UnknownConnectionError(
            "a batch is filled on a connection that blocks; in an event loop, in a thread: "
            "await asyncio.to_thread(…)"
        )
    return kind
