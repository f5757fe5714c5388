"""How a job relates to others: its unique keys and their holders, and the jobs it has sent."""

from collections.abc import Iterator
from datetime import datetime
from typing import Literal

from workshed.console.operations import history
from workshed.console.operations.message_body import decode_body
from workshed.console.operations.scheduled import get_scheduled as get_waiting
from workshed.database.postgres import Connection
from workshed.jobs.control import queues
from workshed.jobs.dead import dead_jobs
from workshed.jobs.history import runs
from workshed.jobs.locks import run_locks, unique
from workshed.jobs.locks.run_locks import HeldLock
from workshed.jobs.locks.unique import UniqueLock
from workshed.redaction import HIDDEN
from workshed.value_class import value_class


@value_class
class JobKey:
    """A key that a job holds or waits for; hidden if its actor has secret arguments."""

    key: str
    lasts: Literal["alive", "running"]
    """How long the key is held: while its holder is alive, or while it runs."""
    holder: str | None
    """The job that holds it, or `None`."""
    acquired_at: datetime | None
    expires_at: datetime | None


@value_class
class ChildJob:
    """A job that another job has sent, with its latest run."""

    message_id: str
    call: str
    outcome: str
    recorded_at: datetime


def list_keys(conn: Connection, message_id: str) -> list[JobKey]:
    """Return the keys of a job."""
    secret = {actor.name for actor in queues.list_actors(conn) if actor.redact}
    locks: list[UniqueLock | HeldLock] = [*unique.list_job_unique_locks(conn, message_id)]
    locks += run_locks.list_job_run_locks(conn, message_id)
    found = [_from_lock(lock, secret) for lock in locks]
    for key, actor in _requested_key(conn, message_id):
        if key not in [lock.key for lock in locks]:
            lock = unique.get_unique_lock(conn, key)
            free = JobKey(HIDDEN if actor in secret else key, "alive", None, None, None)
            found.append(free if lock is None else _from_lock(lock, secret))
    return found


def list_children(conn: Connection, message_id: str, limit: int) -> list[ChildJob]:
    """Return the jobs among the latest `limit` runs of those it has sent, the latest first."""
    found: dict[str, ChildJob] = {}
    for run in runs.list_runs(conn, runs.RunFilter(parent=message_id), limit=limit):
        child = ChildJob(run.message_id, history.run_as_call(run), run.outcome, run.recorded_at)
        found.setdefault(run.message_id, child)
    return list(found.values())


def _requested_key(conn: Connection, message_id: str) -> Iterator[tuple[str, str | None]]:
    """Yield the unique key that a job asks for in its message, with its actor."""
    row = get_waiting(conn, message_id) or dead_jobs.get_dead_job(conn, message_id)
    fields = None if row is None else decode_body(row.body)
    options = fields.get("options") if isinstance(fields, dict) else None
    key = options.get("unique_key") if isinstance(options, dict) else None
    if row is not None and isinstance(key, str) and "\0" not in key:
        yield key, row.actor


def _from_lock(lock: UniqueLock | HeldLock, secret: set[str]) -> JobKey:
    return JobKey(
        key=HIDDEN if lock.actor in secret else lock.key,
        lasts="alive" if isinstance(lock, UniqueLock) else "running",
        holder=lock.message_id,
        acquired_at=lock.acquired_at,
        expires_at=lock.expires_at,
    )
