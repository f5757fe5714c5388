"""Actors that were declared before Workshed's broker was there, and so on another one."""

import importlib

from dramatiq.broker import Broker

from workshed.transport.errors import StrayActorsError

STOCK = importlib.import_module("dramatiq.broker")
"""The module: `dramatiq.broker` may be something else in a program."""


def refuse_strays(broker: Broker | None = None) -> None:
    """Raise `StrayActorsError` where dramatiq's global broker is another one that has actors.

    A bare `@dramatiq.actor` makes a broker of dramatiq's own for 127.0.0.1:5672 where none is set.
    """
    other: Broker | None = STOCK.global_broker
    if other is not None and other is not broker and other.actors:
        raise StrayActorsError(other)
