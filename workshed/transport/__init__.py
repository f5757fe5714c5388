"""How jobs travel: RabbitMQ carries what is due, PostgreSQL keeps what is not.

Everything is imported, and `broker` built, on first access: importing this package reads no
settings and opens nothing, and every pytest that has the test kit's plugin imports it.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workshed.queues import Queue
    from workshed.transport import schedule
    from workshed.transport.batch import Batch
    from workshed.transport.direct import perform_now
    from workshed.transport.rabbitmq import RabbitMQBroker
    from workshed.transport.stub import Stub

    broker: RabbitMQBroker | Stub

__all__ = ["Batch", "Queue", "broker", "perform_now", "schedule"]


def __getattr__(name: str) -> object:
    match name:
        case "Batch":
            return importlib.import_module("workshed.transport.batch").Batch
        case "broker":
            return importlib.import_module("workshed.transport.build").broker()
        case "perform_now":
            return importlib.import_module("workshed.transport.direct").perform_now
        case "Queue":
            return importlib.import_module("workshed.queues").Queue
        case "schedule":
            return importlib.import_module("workshed.transport.schedule")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
