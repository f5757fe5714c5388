"""The tasks of a project, each of which is an actor under its dotted path."""

import threading
from datetime import timedelta
from typing import Any

from django.tasks import Task
from django.tasks.exceptions import InvalidTask

from workshed.contrib.django.priorities import LEVELS
from workshed.contrib.django.task_backend.functions import build_function
from workshed.contrib.django.task_backend.options import RESULT_TTL, options_of
from workshed.errors import WorkshedError
from workshed.queues import Queue
from workshed.transport.actors.declaration import actor
from workshed.transport.actors.typed_actor import Actor
from workshed.transport.base import WorkshedBroker


class TaskRegistry:
    """Declares an actor for each task.

    Tasks may be imported before Workshed is configured. Their actors are declared when it is.
    """

    def __init__(self) -> None:
        """Begin without tasks."""
        self._broker: WorkshedBroker | None = None
        self._lock = threading.RLock()
        self._tasks: dict[str, Task] = {}
        self._actors: dict[str, Actor[..., Any]] = {}

    def add(self, task: Task) -> None:
        """Add a task, unless there is one with its function.

        Raises `InvalidTask` if its options are wrong.
        """
        known = self._tasks.get(task.module_path)
        if known is not None and known.func is task.func:
            return
        with self._lock:
            if self._broker is not None:
                self._declare(self._broker, task)
            self._tasks[task.module_path] = task

    def open(self, broker: WorkshedBroker) -> list[InvalidTask]:
        """Declare the actors from now on; return what is wrong with tasks that were added before.

        Does nothing the second time.
        """
        problems: list[InvalidTask] = []
        with self._lock:
            if self._broker is not None:
                return problems
            self._broker = broker
            for path, task in list(self._tasks.items()):
                try:
                    self._declare(broker, task)
                except InvalidTask as err:
                    del self._tasks[path]  # `add` says again what is wrong
                    problems.append(err)
        return problems

    def find_task(self, path: str) -> Task | None:
        """Return the task with a dotted path, if its module was imported."""
        return self._tasks.get(path)

    def find_actor(self, path: str) -> Actor[..., Any] | None:
        """Return the actor of a task; `None` before Workshed is configured."""
        return self._actors.get(path)

    def find_ttl(self, path: str) -> timedelta:
        """Return how long the result of a task is kept."""
        found = self._actors.get(path)
        ttl_ms = None if found is None else found.options.get("result_ttl")
        return RESULT_TTL if ttl_ms is None else timedelta(milliseconds=int(ttl_ms))

    def _declare(self, broker: WorkshedBroker, task: Task) -> None:
        options = {**task.get_backend().actor_options, **options_of(task.func)}
        try:
            declare_queue(broker, task.queue_name)
            # A module whose import has failed is imported again, and its functions are others then.
            broker.actors.pop(task.module_path, None)
            self._actors[task.module_path] = actor(
                queue=task.queue_name, name=task.module_path, broker=broker, **options
            )(build_function(task))
        except (TypeError, ValueError, WorkshedError) as err:
            raise InvalidTask(f"{task.module_path}: {err}") from err


def declare_queue(broker: WorkshedBroker, name: str) -> None:
    """Declare a queue that the application has not declared; raises `SettingsError`."""
    if name not in broker.declared_queues:
        broker.add_queue(Queue(name, levels=LEVELS))


REGISTRY = TaskRegistry()
