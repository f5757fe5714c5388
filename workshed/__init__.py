"""Background jobs for Python on RabbitMQ and PostgreSQL.

Every name here is imported, and `broker` is built, on first use. Importing this package must read
no settings and open nothing, because every pytest run with the test kit's plugin imports it.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workshed.app import App
    from workshed.cronspec import cron, daily, every
    from workshed.errors import PermanentError
    from workshed.jobs import (
        Discard,
        RecordMissing,
        RetryAfter,
        Snooze,
        cancelled,
        checkpoint,
        once,
    )
    from workshed.middleware import Limit, RetryOn, Unique
    from workshed.queues import Queue
    from workshed.transport import schedule
    from workshed.transport.actors.declaration import actor
    from workshed.transport.batch import Batch
    from workshed.transport.direct import perform_now
    from workshed.transport.embedding.wrapping import embed
    from workshed.transport.postgresql import PostgreSQLBroker
    from workshed.transport.rabbitmq import RabbitMQBroker
    from workshed.transport.stub import Stub

    broker: RabbitMQBroker | PostgreSQLBroker | Stub

__all__ = [
    "App",
    "Batch",
    "Discard",
    "Limit",
    "PermanentError",
    "Queue",
    "RecordMissing",
    "RetryAfter",
    "RetryOn",
    "Snooze",
    "Unique",
    "actor",
    "broker",
    "cancelled",
    "checkpoint",
    "cron",
    "daily",
    "embed",
    "every",
    "once",
    "perform_now",
    "schedule",
]

__version__ = "0.2.0"
"""The only place with this number; packages, manifests and commands take it from here."""

_MODULES = {
    "App": "workshed.app",
    "Batch": "workshed.transport.batch",
    "Discard": "workshed.jobs",
    "Limit": "workshed.middleware",
    "PermanentError": "workshed.errors",
    "Queue": "workshed.queues",
    "RecordMissing": "workshed.jobs",
    "RetryAfter": "workshed.jobs",
    "RetryOn": "workshed.middleware",
    "Snooze": "workshed.jobs",
    "Unique": "workshed.middleware",
    "actor": "workshed.transport.actors.declaration",
    "broker": "workshed.transport",
    "cancelled": "workshed.jobs",
    "checkpoint": "workshed.jobs",
    "cron": "workshed.cronspec",
    "daily": "workshed.cronspec",
    "embed": "workshed.transport.embedding.wrapping",
    "every": "workshed.cronspec",
    "once": "workshed.jobs",
    "perform_now": "workshed.transport.direct",
    "schedule": "workshed.transport",
}
"""Where each name is defined."""


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
