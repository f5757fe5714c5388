"""Workshed as a backend of Django's tasks."""

import contextlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dramatiq
from django.apps import apps
from django.core import checks
from django.tasks import Task, TaskResult, TaskResultStatus
from django.tasks.backends.base import BaseTaskBackend
from django.tasks.exceptions import InvalidTask, InvalidTaskBackend, TaskResultDoesNotExist
from django.tasks.signals import task_enqueued

from workshed.contrib.django.priorities import to_level
from workshed.contrib.django.task_backend.discovery import import_task
from workshed.contrib.django.task_backend.options import check_options
from workshed.contrib.django.task_backend.plain_json import to_plain_json
from workshed.contrib.django.task_backend.records import (
    TaskRecord,
    expire_record,
    find_record,
    insert_record,
)
from workshed.contrib.django.task_backend.registry import REGISTRY
from workshed.contrib.django.task_backend.task_results import build_record, build_result
from workshed.errors import SettingsError
from workshed.jobs.history.attempts import to_storable
from workshed.queues import Queue
from workshed.transport.base import WorkshedBroker
from workshed.transport.build import get_broker

APP = "workshed.contrib.django"


class TasksBackend(BaseTaskBackend):
    """Sends tasks as jobs of Workshed: `TASKS = {"default": {"BACKEND": …}}`.

    `OPTIONS` has options of actors, which hold for every task that has none of its own.
    """

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def __init__(self, alias: str, params: Mapping[str, Any]) -> None:
        """Take the entry of `TASKS`; raises `InvalidTaskBackend` if it is wrong."""
        super().__init__(alias, params)
        self.actor_options: dict[str, Any] = self.options
        try:
            check_options(f"TASKS[{alias!r}]['OPTIONS']", self.actor_options)
            for name in self.queues:
                Queue(name)
        except (ValueError, SettingsError) as err:
            raise InvalidTaskBackend(str(err)) from err

    def validate_task(self, task: Task) -> None:
        """Refuse a task that cannot run, with `InvalidTask`; let workers find the others."""
        super().validate_task(task)
        REGISTRY.add(task)

    def enqueue(self, task: Task, args: Sequence[Any], kwargs: Mapping[str, Any]) -> TaskResult:
        """Send a task; in `transaction.atomic()` it is sent when that commits.

        Raises `InvalidTask`, and `TypeError` or `ValueError` for arguments that are not JSON. If
        a job with its unique key is queued or running, returns the result of that job.
        """
        self.validate_task(task)
        result = _new_result(task, args, kwargs)
        actor = REGISTRY.find_actor(task.module_path)
        if actor is None:
            raise InvalidTask(
                f"{task.module_path} cannot be sent yet: add {APP!r} to INSTALLED_APPS, and "
                "enqueue tasks once Django has called ready() of all apps"
            )
        broker = get_broker()
        if task.queue_name not in broker.declared_queues:
            raise InvalidTask(
                f"{task.module_path}: no worker knows the queue {task.queue_name!r}: add it to "
                f"QUEUES of TASKS[{self.alias!r}]"
            )
        levels = broker.declared_queues[task.queue_name].levels
        message = actor.message_with_options(
            args=tuple(result.args),
            kwargs=result.kwargs,
            broker_priority=to_level(int(task.priority), levels),
        ).copy(queue_name=task.queue_name)
        broker.check_message(message)
        record = build_record(task, result)
        sent_id = _send(broker, message, record)
        stored = build_result(task, sent_id, record)
        if sent_id != message.message_id:  # it has the unique key
            return _find_result(sent_id) or stored
        # The task is sent: an error of a receiver must not make it look as if it were not.
        task_enqueued.send_robust(type(self), task_result=stored)
        return stored

    def get_result(self, result_id: str) -> TaskResult:
        """Return the result of a task as it is now; raises `TaskResultDoesNotExist`."""
        text = str(result_id)  # a caller may keep it as a UUID
        # PostgreSQL would refuse a text that it cannot store, and abort the caller's transaction.
        found = _find_result(text) if to_storable(text) == text else None
        if found is None:
            raise TaskResultDoesNotExist(result_id)
        return found

    def check(self, **_: Any) -> list[checks.CheckMessage]:
        """Report that no worker can run the tasks, as a system check of Django."""
        if apps.is_installed(APP):
            return []
        text = f"TASKS[{self.alias!r}] needs {APP!r} in INSTALLED_APPS"
        return [checks.Error(text, id="workshed.E002")]


def _new_result(task: Task, args: Sequence[Any], kwargs: Mapping[str, Any]) -> TaskResult:
    """Return the result of a task that is not sent yet."""
    return TaskResult(
        task=task,
        id="",
        status=TaskResultStatus.READY,
        enqueued_at=None,
        started_at=None,
        finished_at=None,
        last_attempted_at=None,
        args=to_plain_json(args),
        kwargs=to_plain_json(kwargs),
        backend=task.backend,
        errors=[],
        worker_ids=[],
    )


def _send(broker: WorkshedBroker, message: dramatiq.Message[Any], record: TaskRecord) -> str:
    """Store the record and send the message; return the ID of the message that is sent.

    The record comes first, because a worker may start the task at once. It expires if the message
    is not sent; the worker of one that was sent nevertheless stores another.
    """
    message_id = message.message_id
    insert_record(message_id, record, _compute_ttl(record))
    try:
        sent = (
            broker.enqueue(message)
            if record.run_after is None
            else broker.enqueue_at(message, record.run_after)
        )
    except Exception:
        with contextlib.suppress(Exception):  # the first error says why
            expire_record(message_id, record)
        raise
    if sent.message_id != message_id:
        expire_record(message_id, record)
    return sent.message_id


def _compute_ttl(record: TaskRecord) -> timedelta:
    """Return how long a task that is about to be sent is remembered if it never runs."""
    wait = timedelta() if record.run_after is None else record.run_after - datetime.now(UTC)
    return REGISTRY.find_ttl(record.task) + max(wait, timedelta())


def _find_result(result_id: str) -> TaskResult | None:
    """Return a result; `None` if it is unknown, has expired, or its task no longer exists."""
    record = find_record(result_id)
    task = None if record is None else import_task(record.task)
    return None if record is None or task is None else build_result(task, result_id, record)
