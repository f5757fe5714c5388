"""The number of messages in RabbitMQ's queues, asked over AMQP."""

import time
from collections.abc import Iterable
from typing import Any

import pika
from pika.exceptions import ChannelClosedByBroker

from workshed.transport.amqp import replies, topology
from workshed.transport.errors import BrokerUnreachableError, TopologyError, UnseenQueueError
from workshed.transport.publishing.queue_depth import (
    STAT_TIMEOUT_S,
    DepthCheck,
    QueueDepth,
    describe_silence,
)

LEADER_TIMEOUT_S = 5.0
"""How long to ask for the depth of one queue whose leader is silent."""
LEADER_SHARE = 0.8
"""Share of a command's time in which to ask, so that its error is not that of the connection."""


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
    deadline = time.monotonic() + timeout_s * LEADER_SHARE
    found: dict[str, QueueDepth] = {}
    with topology.open_connection(urls, timeout_s) as connection:
        for name in names:
            each = fetch_depth(connection, prefix + name, deadline)
            if each is not None:
                found[name] = each
    return found


def fetch_depth(
    connection: pika.BlockingConnection, name: str, deadline: float | None = None
) -> QueueDepth | None:
    """Return the depth of one queue; `None` if it does not exist.

    `deadline`: until when to ask a silent leader, as a time of `time.monotonic`. Raises
    `BrokerUnreachableError` if it stays silent, `UnseenQueueError`, or `TopologyError`.
    """
    try:
        return ask_leader(connection, name, deadline)
    except ChannelClosedByBroker as err:
        if err.reply_code == replies.NOT_FOUND:
            return None
        if err.reply_code == replies.ACCESS_REFUSED:
            raise UnseenQueueError(replies.describe_unseen_queue(name, err.reply_text)) from None
        raise TopologyError(f"queue {name!r}: {err.reply_text}") from None


def ask_leader(
    connection: pika.BlockingConnection, name: str, deadline: float | None = None
) -> QueueDepth:
    """Ask for the depth of a queue until its leader has answered, each time on a new channel.

    Raises `BrokerUnreachableError` after `LEADER_TIMEOUT_S`, or at the `deadline`, and
    `ChannelClosedByBroker` if RabbitMQ refuses, for example because there is no such queue.
    """
    deadline = time.monotonic() + LEADER_TIMEOUT_S if deadline is None else deadline
    check = DepthCheck()
    while True:
        started_at = time.monotonic()
        channel: Any = connection.channel()
        asked_at = time.monotonic()
        check.note_round_trip(asked_at - started_at)
        answer = channel.queue_declare(name, passive=True).method
        answered_at = time.monotonic()
        channel.close()
        depth = QueueDepth(int(answer.message_count), int(answer.consumer_count))
        if not check.is_silence(depth, answered_at - asked_at):
            return depth
        if answered_at + STAT_TIMEOUT_S > deadline:  # when the next such answer would come
            raise BrokerUnreachableError(describe_silence(name))


def count_dead_messages(urls: list[str], names: Iterable[str], prefix: str = "") -> dict[str, int]:
    """Return the number of messages in each dead queue that has any; raises as `fetch_depths`."""
    dead = {f"{name}.dead": name for name in names}
    found = fetch_depths(urls, dead, prefix=prefix)
    return {dead[name]: each.ready for name, each in found.items() if each.ready}
