"""The number of messages in RabbitMQ's queues, asked over AMQP."""

from collections.abc import Iterable
from typing import Any

import pika
from pika.exceptions import ChannelClosedByBroker

from workshed.transport.amqp import replies, topology
from workshed.transport.errors import TopologyError, UnseenQueueError
from workshed.transport.publishing.queue_depth import QueueDepth


def fetch_depths(
    urls: list[str],
    names: Iterable[str],
    timeout_s: float = topology.TIMEOUT_S,
    *,
    prefix: str = "",
) -> dict[str, QueueDepth]:
    """Return the depth of each queue that exists.

    `prefix`: prefix of their names on RabbitMQ. `timeout_s`: for all queues, in seconds. Raises
    `BrokerUnreachableError`, or `TopologyError` if RabbitMQ refuses.
    """
    found: dict[str, QueueDepth] = {}
    with topology.open_connection(urls, timeout_s) as connection:
        channel = connection.channel()
        for name in names:
            each = read_depth(channel, prefix + name)
            if each is not None:
                found[name] = each
            else:  # RabbitMQ closes the channel after a request for a missing queue
                channel = connection.channel()
    return found


def fetch_depth(connection: pika.BlockingConnection, name: str) -> QueueDepth | None:
    """Return the depth of one queue; `None` if it does not exist."""
    channel = connection.channel()
    found = read_depth(channel, name)
    if found is not None:
        channel.close()
    return found


def read_depth(channel: Any, name: str) -> QueueDepth | None:
    """Return the depth of a queue, or `None`; RabbitMQ closes the channel if it does not exist."""
    try:
        answer = channel.queue_declare(name, passive=True).method
    except ChannelClosedByBroker as err:
        if err.reply_code == replies.NOT_FOUND:
            return None
        if err.reply_code == replies.ACCESS_REFUSED:
            raise UnseenQueueError(replies.describe_unseen_queue(name, err.reply_text)) from None
        raise TopologyError(f"queue {name!r}: {err.reply_text}") from None
    return QueueDepth(int(answer.message_count), int(answer.consumer_count))


def count_dead_messages(urls: list[str], names: Iterable[str], prefix: str = "") -> dict[str, int]:
    """Return the number of messages in each dead queue that has any; raises as `fetch_depths`."""
    dead = {f"{name}.dead": name for name in names}
    found = fetch_depths(urls, dead, prefix=prefix)
    return {dead[name]: each.ready for name, each in found.items() if each.ready}
