"""How jobs travel: RabbitMQ carries jobs that are due, PostgreSQL keeps those that are not yet.

Every name is imported, and `broker` is built, on first access. Importing this package must read no
settings and open nothing, because every pytest run with the test kit's plugin imports it.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workshed.queues import Queue
    from workshed.transport import schedule
    from workshed.transport.batch import Batch
    from workshed.transport.direct import perform_now
    from workshed.transport.postgresql import PostgreSQLBroker
    from workshed.transport.rabbitmq import RabbitMQBroker
    from workshed.transport.stub import Stub

    broker: RabbitMQBroker | PostgreSQLBroker | Stub

__all__ = ["Batch", "Queue", "broker", "perform_now", "schedule"]


def __getattr__(name: str) -> object:
    match name:
        case "Batch":
            return importlib.import_module("workshed.transport.batch").Batch
        case "broker":
            return importlib.import_module("workshed.transport.build").get_broker()
        case "perform_now":
            return importlib.import_module("workshed.transport.direct").perform_now
        case "Queue":
            return importlib.import_module("workshed.queues").Queue
        case "schedule":
            return importlib.import_module("workshed.transport.schedule")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
