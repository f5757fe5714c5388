"""The job that this thread runs, and the effects it may have once."""

from contextvars import ContextVar
from datetime import datetime
from typing import Protocol

from workshed.db import Connection
from workshed.errors import WorkshedError
from workshed.jobs.idempotency import once_keys
from workshed.jobs.signals import Cancelled


class JobContext(Protocol):
    """What a job may know about itself."""

    cancelled: bool
    """Whether somebody cancelled it since it started."""
    made_progress: bool
    """Whether it has saved a cursor since it started."""

    @property
    def stopping(self) -> bool:
        """Whether its worker stops, and it had better leave where it can go on."""

    @property
    def message_id(self) -> str:
        """Its id."""

    @property
    def actor(self) -> str:
        """The name of its actor."""

    @property
    def batch(self) -> str | None:
        """The id of the batch it is in, or whose end it is told of."""

    @property
    def scheduled_for(self) -> datetime | None:
        """The time it is for, of a run of a periodic job."""

    @property
    def sent_at(self) -> datetime:
        """When it was sent, by its sender's clock."""


_current: ContextVar[JobContext | None] = ContextVar("current job", default=None)


def enter_job(current: JobContext) -> None:
    """Note what this thread runs from now on."""
    _current.set(current)


def leave_job() -> None:
    """Note that it runs nothing."""
    _current.set(None)


def current_job() -> JobContext | None:
    """Return the job that this thread runs, if it runs one."""
    return _current.get()


def cancelled() -> bool:
    """Tell whether this job was cancelled since it started; its worker learns of that within 2 s.

    Costs nothing: ask in every turn of a loop. False outside a job.
    """
    current = _current.get()
    return current is not None and current.cancelled


def checkpoint() -> None:
    """Leave the job here if it was cancelled: it is discarded as such, and not tried again.

    Raises `Cancelled`, which undoes the transaction that is open. Does nothing outside a job.
    """
    if cancelled():
        raise Cancelled("cancelled")


def scheduled_for() -> datetime | None:
    """Return the time that this run of a periodic job is for, in UTC.

    It is the same whenever and however often the job runs. `None` where somebody sent the job
    themselves, and outside a job.
    """
    current = _current.get()
    return None if current is None else current.scheduled_for


def sent_at() -> datetime | None:
    """Return when this job was sent, in UTC, by its sender's clock.

    It is the same whenever and however often the job runs, also when it is wanted back from the
    dead. `None` outside a job.
    """
    current = _current.get()
    return None if current is None else current.sent_at


def once(conn: Connection, key: str) -> bool:
    """Tell the first time for this key from all later ones; scoped by the actor that asks.

    The key commits with what `conn`'s transaction writes: `if once(conn, f"charge {order_id}"):`
    guards it against every copy and retry of the job. Waits for a copy that is about to commit the
    same key. Raises `WorkshedError` outside a job, where there is no actor.
    """
    current = _current.get()
    if current is None:
        raise WorkshedError("once() is asked inside a job; outside there is no actor to scope it")
    return once_keys.claim_key(conn, current.actor, key, current.message_id)
