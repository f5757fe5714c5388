"""The function of a task as that of an actor."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import orjson
from django.tasks import Task, TaskContext, TaskResult
from django.utils.inspect import signature

from workshed import strict_json
from workshed.contrib.django.task_backend.errors import ReturnValueError
from workshed.contrib.django.task_backend.plain_json import to_plain_json
from workshed.jobs.context import current_job
from workshed.middleware import Job
from workshed.middleware.composition.results import LARGEST_BYTES

Function = Callable[..., Any]
NOTE = "django task"
"""The name under which a job keeps its `TaskNote`."""


class TaskNote:
    """What is known about the task of a job that runs."""

    def __init__(self, result: TaskResult) -> None:
        """Take the result as it is now."""
        self.result = result
        self.value: Any = None
        """What the function has returned, as JSON."""


def build_function(task: Task) -> Function:
    """Return a function that takes the arguments of the task as they are sent.

    It adds the context, and keeps what the task returns. It has no annotations, because Workshed
    would check arguments against them, which no other backend does.
    """
    function, path = task.func, task.module_path

    if inspect.iscoroutinefunction(function):

        async def perform_async(*args: Any, **kwargs: Any) -> Any:
            context = _contexts(task)
            return _keep(path, await function(*context, *args, **kwargs))

        return _describe(perform_async, task)

    def perform(*args: Any, **kwargs: Any) -> Any:
        return _keep(path, function(*_contexts(task), *args, **kwargs))

    return _describe(perform, task)


def _describe(perform: Function, task: Task) -> Function:
    """Give a function the name, and the parameters, of that of a task."""
    functools.update_wrapper(perform, task.func, assigned=("__module__", "__name__", "__doc__"))
    del vars(perform)["__wrapped__"]  # it would lead to the parameters of the function
    found = signature(task.func)
    parameters = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in list(found.parameters.values())[1 if task.takes_context else 0 :]
    ]
    vars(perform)["__signature__"] = inspect.Signature(parameters)
    return perform


def _contexts(task: Task) -> tuple[TaskContext, ...]:
    """Return the context of the job that runs, if the task takes it."""
    return (TaskContext(task_result=_current_note().result),) if task.takes_context else ()


def _keep(path: str, returned: object) -> Any:
    """Keep what the task returned; raises `ReturnValueError`."""
    try:
        value = to_plain_json(returned)
    except (TypeError, ValueError) as err:
        raise ReturnValueError(path, f"what it returned is not JSON: {err}") from err
    if problem := strict_json.find_inexact(value, "what it returned"):
        raise ReturnValueError(path, problem)
    if (size := len(orjson.dumps(value))) > LARGEST_BYTES:
        raise ReturnValueError(path, f"what it returned has {size} bytes, {LARGEST_BYTES} at most")
    _current_note().value = value
    return value


def _current_note() -> TaskNote:
    job = current_job()
    assert isinstance(job, Job)  # noqa: S101 -- only jobs run this function
    note: TaskNote = job.notes[NOTE]
    return note
