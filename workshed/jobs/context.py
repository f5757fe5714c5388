"""The job that this thread runs, and effects that it has only once."""

from collections.abc import Awaitable
from contextvars import ContextVar
from datetime import datetime
from typing import Protocol, overload

from workshed.database.adapters import AsyncConnection, SyncConnection, run_in_transaction
from workshed.errors import WorkshedError
from workshed.jobs.idempotency import once_keys
from workshed.jobs.signals import Cancelled


class JobContext(Protocol):
    """What a job may know about itself."""

    cancelled: bool
    """Whether it was cancelled since it started."""
    made_progress: bool
    """Whether it has saved a cursor since it started."""

    @property
    def is_stopping(self) -> bool:
        """Whether its worker is stopping, so that it should stop at a point where it can resume."""

    @property
    def message_id(self) -> str:
        """Its ID."""

    @property
    def actor(self) -> str:
        """The name of its actor."""

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1."""

    @property
    def batch(self) -> str | None:
        """The ID of the batch it is in, or whose callback it is."""

    @property
    def scheduled_for(self) -> datetime | None:
        """For a run of a periodic job: the time it is for."""

    @property
    def sent_at(self) -> datetime:
        """When it was sent, by its sender's clock."""


_current: ContextVar[JobContext | None] = ContextVar("current job", default=None)


def enter_job(current: JobContext) -> None:
    """Note the job that this thread runs from now on."""
    _current.set(current)


def leave_job() -> None:
    """Note that this thread runs no job."""
    _current.set(None)


def current_job() -> JobContext | None:
    """Return the job that this thread runs, if it runs one."""
    return _current.get()


def cancelled() -> bool:
    """Return whether this job was cancelled since it started; its worker learns that within 2 s.

    This is cheap, so you can call it in every iteration of a loop. False outside a job.
    """
    current = _current.get()
    return current is not None and current.cancelled


def checkpoint() -> None:
    """Stop the job here if it was cancelled; it is recorded as cancelled, and not retried.

    Raises `Cancelled`, which rolls back an open transaction. Does nothing outside a job.
    """
    if cancelled():
        raise Cancelled("cancelled")


def scheduled_for() -> datetime | None:
    """Return the time that this run of a periodic job is for, in UTC.

    It is the same whenever and however often the job runs. `None` if the job was sent by other
    means, and outside a job.
    """
    current = _current.get()
    return None if current is None else current.scheduled_for


def sent_at() -> datetime | None:
    """Return when this job was sent, in UTC, by its sender's clock.

    It is the same whenever and however often the job runs, even after a retry from the dead table.
    `None` outside a job.
    """
    current = _current.get()
    return None if current is None else current.sent_at


def attempt() -> int | None:
    """Return the number of this attempt, from 1; a run that costs no attempt does not raise it.

    `None` outside a job.
    """
    current = _current.get()
    return None if current is None else current.attempt


@overload
def once(conn: AsyncConnection, key: str) -> Awaitable[bool]: ...


@overload
def once(conn: SyncConnection, key: str) -> bool: ...


def once(conn: SyncConnection | AsyncConnection, key: str) -> bool | Awaitable[bool]:
    """Return whether this is the first call for this key; keys are scoped by actor.

    The key commits with the other writes of `conn`'s transaction, so
    `if once(conn, f"charge {order_id}"):` guards them against every copy and retry of the job.
    Waits for a copy that is about to commit the same key. `conn` is a connection of psycopg 3,
    Django or SQLAlchemy, or a session of SQLAlchemy. With their asyncio variants:
    `if await once(…)`.

    Raises `OpenTransactionError` if `conn` has no transaction open, as a connection of Django
    outside `transaction.atomic()`; `WorkshedError` outside a job, where there is no actor; and
    `UnknownConnectionError` for any other `conn`.
    """
    current = _current.get()
    if current is None:
        raise WorkshedError("call once() inside a job; outside there is no actor to scope its key")
    steps = once_keys.claim_steps(current.actor, key, current.message_id)
    return run_in_transaction(conn, steps, "once()")
