"""How jobs travel: RabbitMQ carries what is due, PostgreSQL keeps what is not.

`broker` is built on first access, so that importing this package reads no settings and opens
nothing.
"""

from typing import TYPE_CHECKING

from brokers import build, schedule
from brokers.queues import Queue

if TYPE_CHECKING:
    from brokers.rabbitmq import RabbitMQ
    from brokers.stub import Stub

    broker: RabbitMQ | Stub

__all__ = ["Queue", "broker", "schedule"]


def __getattr__(name: str) -> object:
    if name == "broker":
        return build.broker()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
