"""Results of tasks, as Django's classes, from records."""

from dataclasses import replace
from datetime import UTC, datetime

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.tasks import Task, TaskResult, TaskResultStatus
from django.tasks.base import TaskError
from django.tasks.exceptions import InvalidTask
from django.utils import timezone

from workshed.contrib.django.task_backend.records import TaskRecord


def build_record(task: Task, result: TaskResult) -> TaskRecord:
    """Return the record of a task that is about to be sent."""
    return TaskRecord(
        task=task.module_path,
        backend=task.backend,
        priority=task.priority,
        queue=task.queue_name,
        args=result.args,
        kwargs=result.kwargs,
        run_after=None if task.run_after is None else to_aware(task.run_after),
        enqueued_at=datetime.now(UTC),
    )


def build_result(task: Task, result_id: str, record: TaskRecord) -> TaskResult:
    """Return the result that a record of a task says."""
    result = TaskResult(
        task=_configure(task, record),
        id=result_id,
        status=TaskResultStatus(record.status),
        enqueued_at=_to_local(record.enqueued_at),
        started_at=_to_local(record.started_at),
        finished_at=_to_local(record.finished_at),
        last_attempted_at=_to_local(record.last_attempted_at),
        args=record.args,
        kwargs=record.kwargs,
        backend=record.backend,
        errors=[
            TaskError(exception_class_path=path, traceback=text) for path, text in record.errors
        ],
        worker_ids=list(record.workers),
    )
    # Django's own backends set it in this way, too: it is no parameter.
    object.__setattr__(result, "_return_value", record.value)
    return result


def to_aware(at: datetime) -> datetime:
    """Return a time with a time zone; without `USE_TZ`, times are in that of `TIME_ZONE`."""
    return at if timezone.is_aware(at) else at.replace(tzinfo=timezone.get_default_timezone())


def _configure(task: Task, record: TaskRecord) -> Task:
    """Return a task as it was enqueued; as it is declared, if the settings no longer allow that."""
    try:
        return replace(
            task,
            priority=record.priority,
            queue_name=record.queue,
            run_after=_to_local(record.run_after),
            backend=record.backend,
        )
    except (InvalidTask, ImproperlyConfigured):
        return task


def _to_local(at: datetime | None) -> datetime | None:
    """Return a time as the project has it."""
    if at is None or settings.USE_TZ:
        return at
    naive: datetime = timezone.make_naive(at, timezone.get_default_timezone())
    return naive
