"""Stray actors: declared before Workshed's broker was set, and so on another broker."""

import importlib

from dramatiq.broker import Broker

from workshed.transport.errors import StrayActorsError

BROKER_MODULE = importlib.import_module("dramatiq.broker")
"""The module; the attribute `dramatiq.broker` may be something else in a program."""


def refuse_stray_actors(broker: Broker | None = None) -> None:
    """Raise `StrayActorsError` if dramatiq's global broker is another one that has actors.

    If no broker is set, a bare `@dramatiq.actor` creates dramatiq's own for 127.0.0.1:5672.
    """
    other: Broker | None = BROKER_MODULE.global_broker
    if other is not None and other is not broker and other.actors:
        raise StrayActorsError(other)
