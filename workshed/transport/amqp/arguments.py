"""Arguments of queues: which of them RabbitMQ accepts, by queue type and version."""

import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from workshed.duration import ms
from workshed.queues import Queue

EXCHANGE = "workshed.jobs"
"""The exchange that all jobs go through; each queue is bound to it by its name."""
QueueType = Literal["quorum", "classic"]
Version = tuple[int, int]
OLDEST_VERSION: Version = (4, 0)
NEWEST_VERSION: Version = (4, 3)
"""The newest release series that the tests compare `TABLE` with."""
NEVER: Version = (0, 0)


class AcceptedVersions(NamedTuple):
    """The versions of RabbitMQ that accept an argument."""

    before: Version | None = None
    """The first version that refuses it; `None` if every supported version accepts it."""

    def includes(self, version: Version) -> bool:
        """Return whether a server of this version accepts it."""
        return self.before is None or version < self.before


ALWAYS = AcceptedVersions()
ARGUMENT_VERSIONS: Mapping[QueueType, Mapping[str, AcceptedVersions]] = {
    "classic": {
        "x-dead-letter-exchange": ALWAYS,
        "x-dead-letter-routing-key": ALWAYS,
        "x-overflow": ALWAYS,
        "x-max-priority": ALWAYS,
        # 4.3 moved the timeout from the channel into the queue, which classic queues lack. 4.3.0
        # and 4.3.1 ignore the argument; from 4.3.2 on the declaration is refused.
        "x-consumer-timeout": AcceptedVersions(before=(4, 3)),
        "x-delivery-limit": AcceptedVersions(before=NEVER),
        "x-dead-letter-strategy": AcceptedVersions(before=NEVER),
    },
    "quorum": {
        "x-dead-letter-exchange": ALWAYS,
        "x-dead-letter-routing-key": ALWAYS,
        "x-overflow": ALWAYS,
        "x-consumer-timeout": ALWAYS,
        "x-delivery-limit": ALWAYS,
        "x-dead-letter-strategy": ALWAYS,
        # Quorum queues always have priorities: two up to 4.2, 32 strict levels from 4.3 on.
        "x-max-priority": AcceptedVersions(before=NEVER),
    },
}
"""A server answers 406, `invalid arg`, to an argument that its version refuses for that type."""

# -1 is no limit. With the default of 20, RabbitMQ drops a dead letter that you have looked at 20
# times in its UI.
DEAD_QUEUE_ARGUMENTS: dict[str, Any] = {"x-queue-type": "quorum", "x-delivery-limit": -1}


def queue_arguments(queue: Queue, version: Version = OLDEST_VERSION) -> dict[str, Any]:
    """Return the arguments a queue is declared with on this version of RabbitMQ.

    A queue keeps them for as long as it exists.
    """
    taken = ARGUMENT_VERSIONS[queue.kind]
    return {"x-queue-type": queue.kind} | {
        name: value for name, value in all_arguments(queue).items() if taken[name].includes(version)
    }


def all_arguments(queue: Queue) -> dict[str, Any]:
    """Return all arguments that a queue should have, on any version of RabbitMQ."""
    found: dict[str, Any] = {
        "x-dead-letter-exchange": EXCHANGE,
        "x-dead-letter-routing-key": queue.dead_rabbitmq_name,
        "x-consumer-timeout": ms(seconds=queue.consumer_timeout.total_seconds()),
    }
    if queue.levels:
        found["x-max-priority"] = queue.levels
    if queue.kind == "classic":
        return found
    return found | {
        # RabbitMQ counts each return of a message to its queue, also by a clean shutdown. With its
        # default of 20 it would dead-letter jobs that never failed.
        "x-delivery-limit": -1,
        # The message stays until the dead queue has confirmed it. That needs this overflow.
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


def accepted_arguments(queue: Queue, version: Version) -> list[dict[str, Any]]:
    """Return the arguments that an existing queue may have, those of this version first.

    A queue that an older RabbitMQ made keeps its arguments when you upgrade the server.
    """
    found = [queue_arguments(queue, version)]
    older = queue_arguments(queue, OLDEST_VERSION)
    return found if older in found else [*found, older]


VERSION_PATTERN = re.compile(r"(\d+)\.(\d+)")


def is_version(text: str) -> bool:
    """Return whether a text begins with a version, such as `4.3`."""
    return VERSION_PATTERN.match(text) is not None


def parse_version(text: str) -> Version:
    """Parse a version as RabbitMQ writes it; return the first supported one if that fails."""
    found = VERSION_PATTERN.match(text)
    return (int(found[1]), int(found[2])) if found else OLDEST_VERSION
