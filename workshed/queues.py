"""Queues: their declaration, and how a worker divides its work among them."""

import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Literal

from workshed.errors import SettingsError
from workshed.value_class import frozen_class

MOST_LEVELS = {"quorum": 31, "classic": 255}
NAME_PATTERN = re.compile(r"[a-zA-Z_][a-zA-Z0-9._-]*")


@frozen_class
class Queue:
    """A queue and how it is consumed.

    A confirm of a quorum queue means that the message is on disk. A confirm of a classic queue does
    not, but with `levels` it is a true priority queue on every RabbitMQ.
    """

    name: str
    weight: int = 1
    """Share of a busy worker's starts, relative to its other queues."""
    kind: Literal["quorum", "classic"] = "quorum"
    levels: int = 0
    """Highest priority of its jobs; 0 is the lowest. A classic queue has that many true levels on
    every RabbitMQ (`x-max-priority`). A quorum queue is declared without them: RabbitMQ 4.0 to 4.2
    distinguish two levels, above 4 and the rest, and from 4.3 on each level is strict."""
    prefetch: int | None = None
    """Deliveries held by one process; `None`: twice its threads, dramatiq's default."""
    cap: int | None = None
    """Most of its jobs that run at once in one process; `None`: no limit."""
    consumer_timeout: timedelta = timedelta(hours=1)
    """RabbitMQ takes back a delivery that is not settled within this time, and closes the channel.
    Before 4.3 this holds for every queue, from 4.3 on only for quorum queues. A worker returns
    deliveries that it has not started earlier, by itself."""
    prefix: str = ""
    """Set by the broker, from `WORKSHED_QUEUE_PREFIX`."""

    def __post_init__(self) -> None:
        """Refuse values that RabbitMQ or dramatiq would refuse later, and less clearly."""
        if not NAME_PATTERN.fullmatch(self.name) or self.name.endswith(".dead"):
            raise SettingsError(
                f"queue name {self.name!r}: a letter or underscore, then letters, digits, dots, "
                "dashes, underscores; `.dead` at the end is taken"
            )
        if not 0 <= self.levels <= MOST_LEVELS[self.kind]:
            raise SettingsError(
                f"queue {self.name!r}: {self.levels} levels; "
                f"a {self.kind} queue has at most {MOST_LEVELS[self.kind]}"
            )
        for name, value in (
            ("weight", self.weight),
            ("cap", self.cap),
            ("prefetch", self.prefetch),
        ):
            if value is not None and value < 1:
                raise SettingsError(f"queue {self.name!r}: {name} {value} is below 1")

    @property
    def dead_name(self) -> str:
        """Name of the queue for messages that could not even be stored in the dead table."""
        return f"{self.name}.dead"

    @property
    def rabbitmq_name(self) -> str:
        """Its name on RabbitMQ; everything else, such as rows and metrics, uses `name`."""
        return f"{self.prefix}{self.name}"

    @property
    def dead_rabbitmq_name(self) -> str:
        """Name of its dead queue on RabbitMQ."""
        return f"{self.prefix}{self.dead_name}"


def weigh_queues(queues: Iterable[Queue], weights: str, prefix: str = "") -> dict[str, Queue]:
    """Index the queues by name, with the weights of `WORKSHED_QUEUES` (`critical=3,default=2`).

    `prefix`: before their names on RabbitMQ.

    Raises `SettingsError` for an undeclared queue or a weight that is not a whole number.
    """
    known = {queue.name: replace(queue, prefix=prefix) for queue in queues}
    for part in filter(None, (p.strip() for p in weights.split(","))):
        name, _, weight = part.partition("=")
        if name not in known or not weight.isdecimal():
            raise SettingsError(
                f"WORKSHED_QUEUES: {part!r} is not NAME=WEIGHT of a declared queue "
                f"({', '.join(sorted(known))})"
            )
        known[name] = replace(known[name], weight=int(weight))
    return known
