"""The queues of the sample application, and its extensions of Workshed's processes."""

from typing import TYPE_CHECKING

import workshed

if TYPE_CHECKING:
    from workshed import broker

__all__ = ["broker"]


def __getattr__(name: str) -> object:
    if name == "broker":  # on first use: every process imports `brokers.app`
        return workshed.broker
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
