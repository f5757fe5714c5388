"""Let this process send and run the tasks of a project."""

from django.core import checks
from django.tasks import task_backends

from workshed.contrib.django.task_backend.backend import TasksBackend
from workshed.contrib.django.task_backend.discovery import (
    add_problem,
    import_task,
    import_tasks,
    list_problems,
)
from workshed.contrib.django.task_backend.registry import REGISTRY, declare_queue
from workshed.contrib.django.task_backend.task_runs import TaskRuns
from workshed.transport.base import WorkshedBroker


def prepare_tasks(broker: WorkshedBroker) -> None:
    """Declare the queues and actors of Workshed's backends in `TASKS`, if there are any."""
    backends = [one for one in task_backends.all() if isinstance(one, TasksBackend)]
    if not backends:
        return
    for name in {name for backend in backends for name in backend.queues}:
        declare_queue(broker, name)
        broker.declare_queue(name)  # a worker consumes it, also for tasks that it imports later
    if not any(isinstance(one, TaskRuns) for one in broker.middleware):
        broker.add_middleware(TaskRuns())
    broker.import_actor = import_task
    for problem in REGISTRY.open(broker):
        add_problem(checks.Error, f"a task is invalid: {problem}", problem)
    import_tasks()
    checks.register(list_problems)
