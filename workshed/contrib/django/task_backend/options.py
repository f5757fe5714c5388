"""Workshed's options of a task: `@task` above `@task_options(time_limit=…)`."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar, Unpack

from workshed.errors import WorkshedError
from workshed.middleware.options.actor_options import ActorOptions
from workshed.transport.option_conversion import to_dramatiq_options

F = TypeVar("F", bound=Callable[..., Any])

ATTRIBUTE = "__workshed_options__"
"""The attribute of a function that holds its options."""
RESULT_TTL = timedelta(days=7)
"""How long a result is kept by default, from its last change."""
OF_DJANGO = {"priority": "write @task(priority=…)", "store_results": "results are always stored"}
"""Options of actors that tasks have by other means."""


def task_options(**options: Unpack[ActorOptions]) -> Callable[[F], F]:
    """Set options of Workshed on the function of a task; write it below `@task`.

    `@task_options(time_limit=timedelta(minutes=1), max_retries=0)`. The options are those of
    `workshed.actor`; they replace those of `OPTIONS` in `TASKS`.

    Raises `ValueError` for an unknown option, or a value of the wrong type.
    """
    check_options("task_options", options)

    def note(function: F) -> F:
        if hasattr(function, "func"):  # a `Task`
            raise WorkshedError(
                f"{function.func.__name__}: write @task above @task_options(…), because @task "
                "reads the options"
            )
        setattr(function, ATTRIBUTE, dict(options))
        return function

    return note


def check_options(title: str, options: Any) -> None:
    """Raise `ValueError` for options that a task cannot have."""
    for name, instead in OF_DJANGO.items():
        if name in options:
            raise ValueError(f"{title}: {name} is not an option of a task: {instead}")
    to_dramatiq_options(title, options)


def options_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the options that `task_options` has set."""
    found: dict[str, Any] = getattr(function, ATTRIBUTE, {})
    return found
