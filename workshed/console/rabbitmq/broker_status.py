"""What RabbitMQ tells of its queues and of itself, and what could not be asked."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from workshed.console.rabbitmq.management_api import Management
from workshed.console.rabbitmq.queue_depths import ConsoleQueueDepth, queue_depths
from workshed.errors import WorkshedError
from workshed.transport.amqp import topology


@dataclass(frozen=True, slots=True)
class BrokerStatus:
    """Its answers; what is not there could not be asked, or is not on RabbitMQ."""

    depths: Mapping[str, ConsoleQueueDepth] = field(default_factory=dict)
    """By queue, those of dead letters included."""
    unacked: Mapping[str, int] = field(default_factory=dict)
    """How many messages of each queue are with a worker."""
    alarm: str | None = None
    """What it says of its alarms, where they were asked for; it takes no messages then."""
    troubles: Sequence[WorkshedError] = ()
    """Why something could not be asked."""


def fetch_status(
    urls: list[str],
    api: Management | None,
    names: Iterable[str],
    timeout_s: float = topology.TIMEOUT_S,
    *,
    prefix: str = "",
    alarms: bool = False,
) -> BrokerStatus:
    """Ask over AMQP, for at most `timeout_s`, and the management API, where it is named.

    `prefix`: before the names of queues on RabbitMQ.
    """
    troubles: list[WorkshedError] = []
    found: dict[str, ConsoleQueueDepth] = {}
    unacked: dict[str, int] = {}
    alarm = None
    try:
        each = [at for name in names for at in (name, f"{name}.dead")]
        found = queue_depths(urls, each, timeout_s, prefix=prefix)
    except WorkshedError as err:
        troubles.append(err)
    try:
        if api is not None:
            alarm = api.alarms() if alarms else None
            unacked = count_unacked(api)
    except WorkshedError as err:
        troubles.append(err)
    return BrokerStatus(found, unacked, alarm, troubles)


def count_unacked(api: Management) -> dict[str, int]:
    """Return how many messages of each queue are with a worker."""
    return {name: one.get("messages_unacknowledged", 0) for name, one in api.queues().items()}
