"""What a queue is declared with: which arguments RabbitMQ takes, by type of queue and version."""

import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from brokers.publisher import EXCHANGE
from brokers.queues import Queue
from workshed.duration import ms

Kind = Literal["quorum", "classic"]
Version = tuple[int, int]
FIRST: Version = (4, 0)
NEWEST: Version = (4, 3)
"""The newest release series that the table below was checked against."""
NEVER: Version = (0, 0)


class Taken(NamedTuple):
    """The versions of RabbitMQ that take an argument."""

    before: Version | None = None
    """The first version that refuses it; `None`: every supported version takes it."""

    def by(self, version: Version) -> bool:
        """Tell whether a server of this version takes it."""
        return self.before is None or version < self.before


ALWAYS = Taken()
TABLE: Mapping[Kind, Mapping[str, Taken]] = {
    "classic": {
        "x-dead-letter-exchange": ALWAYS,
        "x-dead-letter-routing-key": ALWAYS,
        "x-overflow": ALWAYS,
        "x-max-priority": ALWAYS,
        # 4.3 moved the timeout from the channel into the queue, which classic queues lack. 4.3.0
        # and 4.3.1 ignore the argument; from 4.3.2 on the declaration is refused.
        "x-consumer-timeout": Taken(before=(4, 3)),
        "x-delivery-limit": Taken(before=NEVER),
        "x-dead-letter-strategy": Taken(before=NEVER),
    },
    "quorum": {
        "x-dead-letter-exchange": ALWAYS,
        "x-dead-letter-routing-key": ALWAYS,
        "x-overflow": ALWAYS,
        "x-consumer-timeout": ALWAYS,
        "x-delivery-limit": ALWAYS,
        "x-dead-letter-strategy": ALWAYS,
        # Quorum queues always have priorities: two up to 4.2, 32 strict levels from 4.3 on.
        "x-max-priority": Taken(before=NEVER),
    },
}
"""What a server that does not know an argument for a type answers: 406, `invalid arg`."""

# Without the limit, RabbitMQ 4.0 drops a dead letter that was looked at twenty times in its UI.
DEAD_ARGUMENTS: dict[str, Any] = {"x-queue-type": "quorum", "x-delivery-limit": -1}


def arguments(queue: Queue, version: Version = FIRST) -> dict[str, Any]:
    """Return the arguments a queue is declared with on this version of RabbitMQ.

    They can never change afterwards.
    """
    taken = TABLE[queue.kind]
    return {"x-queue-type": queue.kind} | {
        name: value for name, value in options(queue).items() if taken[name].by(version)
    }


def options(queue: Queue) -> dict[str, Any]:
    """Return what a queue needs, whether or not RabbitMQ takes it."""
    found: dict[str, Any] = {
        "x-dead-letter-exchange": EXCHANGE,
        "x-dead-letter-routing-key": queue.dead_on_rabbitmq,
        "x-consumer-timeout": ms(seconds=queue.consumer_timeout.total_seconds()),
    }
    if queue.levels:
        found["x-max-priority"] = queue.levels
    if queue.kind == "classic":
        return found
    return found | {
        # RabbitMQ 4.0 counts every return of a message, a clean shutdown's too, and would bury
        # bystanders.
        "x-delivery-limit": -1,
        # A dead letter leaves only once its queue has confirmed it; that needs this overflow.
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


def equivalents(queue: Queue, version: Version) -> list[dict[str, Any]]:
    """Return the arguments that a queue may have on this version, the preferred ones first.

    A queue that an older RabbitMQ made keeps its arguments when the server is upgraded.
    """
    found = [arguments(queue, version)]
    older = arguments(queue, FIRST)
    return found if older in found else [*found, older]


WRITTEN = re.compile(r"(\d+)\.(\d+)")


def is_version(text: str) -> bool:
    """Tell whether a text begins as a version does."""
    return WRITTEN.match(text) is not None


def read_version(text: str) -> Version:
    """Read a version as RabbitMQ writes it; an unreadable one counts as the first."""
    found = WRITTEN.match(text)
    return (int(found[1]), int(found[2])) if found else FIRST
