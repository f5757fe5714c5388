"""Middleware that keeps the results of tasks up to date, and sends Django's signals."""

import os
import socket
from datetime import timedelta

from django.dispatch import Signal
from django.tasks import Task, TaskResultStatus
from django.tasks.signals import task_finished, task_started
from dramatiq.broker import Broker, MessageProxy

from workshed import db
from workshed.contrib.django.task_backend.functions import NOTE, TaskNote
from workshed.contrib.django.task_backend.records import TaskRecord, load_record, store_record
from workshed.contrib.django.task_backend.registry import REGISTRY
from workshed.contrib.django.task_backend.task_results import build_result
from workshed.database.postgres import Connection
from workshed.errors import PermanentError
from workshed.jobs.history.attempts import describe_error
from workshed.middleware import Job, Observer, Outcome, OutcomeMiddleware

NO_DELAY = timedelta()
UNCOUNTED = ("snoozed", "interrupted")
"""Outcomes that cost no attempt. A task that snoozes until a file exists may do so for days."""


class TaskRuns(OutcomeMiddleware, Observer):
    """Stores when a task starts, and its result together with the outcome of its job.

    *Order:* last, so that every check before it has let the job start.
    """

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:  # noqa: ARG002 -- as dramatiq calls it
        """Store that an attempt starts."""
        task = REGISTRY.find_task(message.actor_name)
        if task is None:
            return
        job: Job = message.job
        with db.transaction() as conn:
            record = load_record(conn, job.message_id) or _build_record(task, job)
            record.start(f"{socket.gethostname()}:{os.getpid()}")
            _store(conn, task, job, record)

    def on_start(self, job: Job) -> None:
        """Send Django's signal."""
        if (note := _note_of(job)) is not None:
            _send_signal(task_started, note)

    def handles(self, job: Job, outcome: Outcome) -> bool:
        """Return whether the job is that of a task."""
        return REGISTRY.find_task(job.actor) is not None and outcome.kind != "duplicate"

    def on_outcome(self, conn: Connection, job: Job, outcome: Outcome) -> None:
        """Store the result."""
        task = REGISTRY.find_task(job.actor)
        assert task is not None  # noqa: S101 -- see `handles`
        record = load_record(conn, job.message_id) or _build_record(task, job)
        note = _note_of(job)
        if outcome.kind == "succeeded":
            record.end(TaskResultStatus.SUCCESSFUL, None if note is None else note.value)
        else:
            _add_error(record, job, outcome)
            if outcome.kind in UNCOUNTED and job.started_at is not None:
                record.cancel_start()
            failed = outcome.is_final
            record.end(TaskResultStatus.FAILED if failed else TaskResultStatus.READY)
        _store(conn, task, job, record, outcome.delay)

    def on_outcome_stored(self, job: Job, outcome: Outcome) -> None:
        """Send Django's signal."""
        note = _note_of(job)
        if note is not None and outcome.is_final:
            _send_signal(task_finished, note)


def _build_record(task: Task, job: Job) -> TaskRecord:
    """Return a record of a job whose own has expired, or that `enqueue` has not sent."""
    return TaskRecord(
        task=task.module_path,
        backend=task.backend,
        priority=task.priority,
        queue=job.message.queue_name,
        args=list(job.message.args),
        kwargs=dict(job.message.kwargs),
        enqueued_at=job.sent_at,
    )


def _add_error(record: TaskRecord, job: Job, outcome: Outcome) -> None:
    """Note why an attempt failed, or why the job ended; other outcomes are no errors."""
    if not outcome.is_final and outcome.kind != "retry":
        return
    kind = PermanentError if outcome.error is None else type(outcome.error)
    text = describe_error(outcome.error, job.redact).traceback or job.redact(outcome.reason)
    record.add_error(f"{kind.__module__}.{kind.__qualname__}", text)


def _store(
    conn: Connection, task: Task, job: Job, record: TaskRecord, delay: timedelta = NO_DELAY
) -> None:
    """Store a record, and keep it with the job as a result."""
    store_record(conn, job.message_id, record, REGISTRY.find_ttl(job.actor) + delay)
    before = _note_of(job)
    job.notes[NOTE] = note = TaskNote(build_result(task, job.message_id, record))
    note.value = None if before is None else before.value


def _send_signal(signal: Signal, note: TaskNote) -> None:
    """Call every receiver; Django logs their errors."""
    signal.send_robust(type(note.result.task.get_backend()), task_result=note.result)


def _note_of(job: Job) -> TaskNote | None:
    note: TaskNote | None = job.notes.get(NOTE)
    return note
