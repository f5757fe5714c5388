"""What is stored about a task for `get_result`: a row of `workshed.results` with JSON."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import orjson
from django.tasks.base import TaskResultStatus

from workshed import db
from workshed.database.adapters import Steps, run_on
from workshed.database.postgres import Connection, Statement
from workshed.jobs.history import results
from workshed.transport.build import get_broker

TIMES = ("run_after", "enqueued_at", "started_at", "last_attempted_at", "finished_at")
MOST_ERRORS = 10
"""Most errors that a record keeps, because each has a traceback."""
CANCELLED = "the job was cancelled"
DISCARDED = "the job was discarded, or replaced by another with its unique key"


@dataclass(kw_only=True)
class TaskRecord:
    """A task that was enqueued, with all that its result says."""

    task: str
    """The dotted path of its function."""
    backend: str
    priority: int
    queue: str
    args: list[Any]
    kwargs: dict[str, Any]
    run_after: datetime | None = None
    status: str = TaskResultStatus.READY.value
    enqueued_at: datetime | None = None
    started_at: datetime | None = None
    last_attempted_at: datetime | None = None
    finished_at: datetime | None = None
    errors: list[tuple[str, str]] = field(default_factory=list)
    """The dotted path and the traceback of each, the latest last."""
    workers: list[str] = field(default_factory=list)
    """The worker of each attempt."""
    value: Any = None
    """What it returned."""

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """Return the record of a row; a newer release may have stored fields of its own."""
        known = {one.name for one in dataclasses.fields(cls)} & found.keys()
        times = {
            name: found[name] and datetime.fromisoformat(found[name])
            for name in known.intersection(TIMES)
        }
        return cls(**{**{name: found[name] for name in known}, **times})

    def to_json(self) -> bytes:
        """Return it as it is stored."""
        return orjson.dumps(dataclasses.asdict(self))

    @property
    def is_finished(self) -> bool:
        """Whether the task will not run again by itself."""
        return self.status in (TaskResultStatus.SUCCESSFUL, TaskResultStatus.FAILED)

    def start(self, worker: str) -> None:
        """Note that an attempt starts."""
        now = datetime.now(UTC)
        self.status, self.finished_at = TaskResultStatus.RUNNING.value, None
        self.started_at = self.started_at or now
        self.last_attempted_at = now
        self.workers.append(worker)

    def cancel_start(self) -> None:
        """Note that the attempt that has started does not count."""
        del self.workers[-1:]  # a record that was erased meanwhile has none

    def end(self, status: TaskResultStatus, value: Any = None) -> None:
        """Note how an attempt has ended."""
        self.status, self.value = status.value, value
        self.finished_at = datetime.now(UTC) if self.is_finished else None

    def add_error(self, path: str, traceback: str) -> None:
        """Note the error of an attempt."""
        self.errors = [*self.errors, (path, traceback)][-MOST_ERRORS:]


def store_record(conn: Connection, message_id: str, record: TaskRecord, ttl: timedelta) -> None:
    """Store a record for this long; it replaces an earlier one."""
    results.store_result(conn, _to_key(message_id), record.to_json(), ttl)


def insert_record(message_id: str, record: TaskRecord, ttl: timedelta) -> None:
    """Store a new record, in the transaction of Django that this thread has open, if any."""
    _run(_execute(results.store_statement(_to_key(message_id), record.to_json(), ttl)))


def expire_record(message_id: str, record: TaskRecord) -> None:
    """Forget a record that `insert_record` has stored, unless a worker has changed it."""
    _run(_execute(results.expire_statement(_to_key(message_id), record.to_json())))


def load_record(conn: Connection, message_id: str) -> TaskRecord | None:
    """Return a record; `None` if there is none, or it has expired."""
    body = results.get_result(conn, _to_key(message_id))
    return None if body is None else TaskRecord.from_json(orjson.loads(body))


def find_record(message_id: str) -> TaskRecord | None:
    """Return a record as `load_record`, also one that the open transaction of Django has stored.

    A task is finished, too, if its job was cancelled before a worker had it, was replaced by
    another with its unique key, or is dead because it could not be read.
    """
    text = _run(_find_steps(message_id))
    if text is None:
        return None
    found = json.loads(text)
    record = TaskRecord.from_json(found["record"])
    if not record.is_finished and (problem := _find_end(record, found)):
        reason, ended_at = problem
        record.end(TaskResultStatus.FAILED)
        record.finished_at = datetime.fromisoformat(ended_at)
        record.add_error("workshed.errors.PermanentError", reason)
    return record


def _execute(statement: Statement) -> Steps[None]:
    yield statement


def _find_steps(message_id: str) -> Steps[str | None]:
    query = """
        SELECT json_build_object(
                   'record', convert_from(r.body, 'UTF8')::json,
                   'died_at', d.died_at, 'error_class', d.error_class,
                   'cancelled_at', c.cancelled_at,
                   'discarded_at', (SELECT max(a.ended_at)
                                      FROM workshed.attempts AS a
                                     WHERE a.message_id = %(id)s
                                       AND a.outcome = 'discarded'))::text
          FROM workshed.results AS r
          LEFT JOIN workshed.dead AS d ON d.message_id = %(id)s
          LEFT JOIN workshed.cancellations AS c ON c.message_id = %(id)s
         WHERE r.key = %(key)s AND r.expires_at > workshed.now()
    """
    return (yield Statement(query, {"id": message_id, "key": _to_key(message_id)}))


def _find_end(record: TaskRecord, found: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return why a job ended without its worker, and when; `None` if it has not."""
    if found["died_at"]:
        return f"the job is dead: {found['error_class'] or 'it could not be run'}", found["died_at"]
    if found["discarded_at"]:
        return DISCARDED, found["discarded_at"]
    # A running job may go on after it was cancelled.
    is_cancelled = found["cancelled_at"] and record.status == TaskResultStatus.READY
    return (CANCELLED, found["cancelled_at"]) if is_cancelled else None


def _run(steps: Steps[Any]) -> Any:
    if (conn := get_broker().open_transaction()) is not None:
        return run_on(conn, steps)
    with db.transaction() as own:
        return run_on(own, steps)


def _to_key(message_id: str) -> str:
    return f"django-task:{message_id}"
