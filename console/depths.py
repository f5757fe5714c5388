"""How many messages lie in RabbitMQ's queues, asked over AMQP."""

from collections.abc import Iterable
from dataclasses import dataclass

import pika
from pika.exceptions import ChannelClosedByBroker

from brokers import topology
from brokers.errors import TopologyError


@dataclass(frozen=True, slots=True)
class Depth:
    """What a passive declaration tells; messages with a consumer are not among them."""

    ready: int
    consumers: int


def depths(urls: list[str], names: Iterable[str]) -> dict[str, Depth]:
    """Return the depth of each queue; one that does not exist is left out.

    Raises `BrokerUnreachableError`, or `TopologyError` for what RabbitMQ refuses to tell.
    """
    with topology.opened(urls) as connection:
        found = {name: depth(connection, name) for name in names}
    return {name: each for name, each in found.items() if each is not None}


def depth(connection: pika.BlockingConnection, name: str) -> Depth | None:
    """Return the depth of one queue; `None` when it does not exist."""
    channel = connection.channel()
    try:
        answer = channel.queue_declare(name, passive=True).method
    except ChannelClosedByBroker as err:
        if err.reply_code == topology.NOT_FOUND:
            return None
        raise TopologyError(f"queue {name!r}: {err.reply_text}") from None
    channel.close()
    return Depth(int(answer.message_count), int(answer.consumer_count))


def in_dead_queues(urls: list[str], names: Iterable[str]) -> dict[str, int]:
    """Return the queues in whose dead queue something lies, with how much; raises as `depths`."""
    dead = {f"{name}.dead": name for name in names}
    found = depths(urls, dead)
    return {dead[name]: each.ready for name, each in found.items() if each.ready}
