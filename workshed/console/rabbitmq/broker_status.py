"""The state of RabbitMQ's queues and alarms, and the errors of asking for it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field

from workshed.console.rabbitmq.management_api import ManagementApi
from workshed.console.rabbitmq.queue_depths import fetch_depths
from workshed.errors import WorkshedError
from workshed.transport.amqp import topology
from workshed.transport.publishing.queue_depth import QueueDepth
from workshed.value_class import value_class


@value_class
class BrokerStatus:
    """The answers; a missing queue does not exist on RabbitMQ, or could not be asked for."""

    depths: Mapping[str, QueueDepth] = field(default_factory=dict)
    """By queue, including dead queues."""
    unacked: Mapping[str, int] = field(default_factory=dict)
    """Messages that workers hold, by queue."""
    alarm: str | None = None
    """RabbitMQ's alarms, if they were asked for; with an alarm, it takes no messages."""
    errors: Sequence[WorkshedError] = ()
    """Errors of the requests that failed."""


def fetch_status(
    urls: list[str],
    api: ManagementApi | None,
    names: Iterable[str],
    timeout_s: float = topology.TIMEOUT_S,
    *,
    prefix: str = "",
    alarms: bool = False,
) -> BrokerStatus:
    """Ask over AMQP, for at most `timeout_s`, and the management API, if it is configured.

    `prefix`: prefix of the queue names on RabbitMQ.
    """
    troubles: list[WorkshedError] = []
    found: dict[str, QueueDepth] = {}
    unacked: dict[str, int] = {}
    alarm = None
    try:
        each = [at for name in names for at in (name, f"{name}.dead")]
        found = fetch_depths(urls, each, timeout_s, prefix=prefix)
    except WorkshedError as err:
        troubles.append(err)
    try:
        if api is not None:
            alarm = api.alarms() if alarms else None
            unacked = count_unacked(api)
    except WorkshedError as err:
        troubles.append(err)
    return BrokerStatus(found, unacked, alarm, troubles)


def count_unacked(api: ManagementApi) -> dict[str, int]:
    """Return the messages that workers hold, by queue."""
    return {name: one.get("messages_unacknowledged", 0) for name, one in api.queues().items()}
