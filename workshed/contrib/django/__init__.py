"""Workshed in a Django project: `INSTALLED_APPS += ["workshed.contrib.django"]`."""

import importlib
from typing import TYPE_CHECKING

from workshed.extras import require_modules

require_modules("django", "django")

if TYPE_CHECKING:
    from workshed.contrib.django.task_backend.backend import TasksBackend
    from workshed.contrib.django.task_backend.options import task_options

__all__ = ["TasksBackend", "task_options"]

_MODULES = {
    "TasksBackend": "workshed.contrib.django.task_backend.backend",
    "task_options": "workshed.contrib.django.task_backend.options",
}
"""Where each name is defined. They are imported on first use, because Django imports this package
before it is configured, and because Django 5.2 has no tasks."""


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
