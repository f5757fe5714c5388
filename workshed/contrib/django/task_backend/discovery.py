"""Find the tasks of a project: in the module `tasks` of each app, and by their dotted paths."""

import logging
import time
from functools import lru_cache
from importlib import import_module
from typing import Any

from django.apps import apps
from django.core import checks
from django.tasks import Task
from django.tasks.exceptions import InvalidTask
from django.utils.module_loading import module_has_submodule

from workshed.contrib.django.task_backend.registry import REGISTRY

logger = logging.getLogger(__name__)

MODULE = "tasks"
MOST_PATHS = 1_000
"""Most dotted paths without a task that a process remembers."""
RETRY_S = 60
"""After so many seconds, a module whose import has failed is imported again."""

_problems: list[checks.CheckMessage] = []


def import_tasks() -> None:
    """Import the module `tasks` of each app.

    An error does not prevent the other apps from starting: it is logged, and a system check reports
    it. The module may belong to another library, which the project does not use.
    """
    for config in apps.get_app_configs():
        if config.module is not None and module_has_submodule(config.module, MODULE):
            name = f"{config.name}.{MODULE}"
            try:
                import_module(name)
            except InvalidTask as err:
                add_problem(checks.Error, f"a task of {name} is invalid: {err}", err)
            except Exception as err:  # noqa: BLE001 -- the module of another library may raise any
                reason = f"{type(err).__name__}: {err}"
                add_problem(checks.Warning, f"{name} cannot be imported: {reason}", err)


def add_problem(kind: type[checks.CheckMessage], text: str, error: Exception) -> None:
    """Log that tasks cannot run, and report it as a system check."""
    logger.error("Workshed does not run its tasks: %s", text, exc_info=error)
    _problems.append(kind(f"{text}; Workshed does not run its tasks", id="workshed.E003"))


def list_problems(**_: Any) -> list[checks.CheckMessage]:
    """Return why some tasks cannot run, as system checks of Django."""
    return list(_problems)


def import_task(path: str) -> Task | None:
    """Return the task with a dotted path, and import its module if that is part of an app."""
    found = REGISTRY.find_task(path)
    if found is None and _import_from_app(path, int(time.monotonic() / RETRY_S)):
        found = REGISTRY.find_task(path)
    return found


@lru_cache(MOST_PATHS)
def _import_from_app(path: str, _period: int) -> bool:
    """Import the module of a dotted path, once in each period; return whether that was possible.

    A message may name any path, so only modules of apps are imported.
    """
    module = path.rpartition(".")[0]
    if not module or apps.get_containing_app_config(module) is None:
        return False
    try:
        import_module(module)
    except (Exception, SystemExit):  # of a script, for example, which would end this thread
        logger.exception("Could not import the module of the task %s", path)
        return False
    return True
