"""Background jobs for Python on RabbitMQ and PostgreSQL."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workshed.app import App

__all__ = ["App"]

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name == "App":  # on first use: `import workshed` is to read nothing
        return importlib.import_module("workshed.app").App
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
