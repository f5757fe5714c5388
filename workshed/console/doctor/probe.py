"""Probe what the account may do, without changing anything."""

import time
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Literal

from pika.exceptions import (
    ChannelClosedByBroker,
    ConnectionBlockedTimeout,
    UnroutableError,
)

from workshed.console.rabbitmq.amqp import connect_amqp
from workshed.console.rabbitmq.queue_depths import fetch_depth
from workshed.transport.amqp import replies, topology
from workshed.transport.amqp.arguments import EXCHANGE
from workshed.value_class import value_class

UNBOUND_KEY = "workshed.doctor"
"""A routing key that no queue is bound to: RabbitMQ returns the message."""
BLOCKED_TIMEOUT = timedelta(seconds=2)
BLOCKED_WITHIN_S = 0.4
"""RabbitMQ returns the message first, and then says that it blocks: 1 ms later, when measured."""


@value_class
class ProbeResult:
    """How RabbitMQ responded to a message that no queue gets."""

    kind: Literal["allowed", "refused", "no exchange", "blocked"]
    reason: str = ""


def probe_publish(urls: list[str]) -> ProbeResult:
    """Send a message that no queue gets; raises `BrokerUnreachableError`."""
    reasons: list[str] = []
    connection = connect_amqp(urls, "doctor", BLOCKED_TIMEOUT)
    connection.add_on_connection_blocked_callback(
        lambda _, frame: reasons.append(str(frame.method.reason))
    )
    try:
        answer = try_publish(connection.channel())
        ends_at = time.monotonic() + BLOCKED_WITHIN_S
        while not reasons and time.monotonic() < ends_at:
            connection.process_data_events(BLOCKED_WITHIN_S / 4)
        connection.close()  # fails if RabbitMQ blocks, because it then reads nothing more
    except ConnectionBlockedTimeout:
        return ProbeResult("blocked", " ".join(reasons))
    finally:
        if connection.is_open:
            connection.close()
    return ProbeResult("blocked", " ".join(reasons)) if reasons else answer


def try_publish(channel: Any) -> ProbeResult:
    """Publish the message; return the response."""
    try:
        channel.confirm_delivery()
        channel.basic_publish(EXCHANGE, UNBOUND_KEY, b"", mandatory=True)
    except UnroutableError:
        return ProbeResult("allowed")
    except ChannelClosedByBroker as err:
        missing = err.reply_code == replies.NOT_FOUND
        return ProbeResult("no exchange" if missing else "refused", str(err.reply_text))
    return ProbeResult("allowed")


def probe_read(urls: list[str], names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the queues that may not be read, and those that cannot be tried.

    A queue with messages is not tried, because a message would come back marked as redelivered.
    """
    refused, untried = [], []
    with topology.open_connection(urls) as connection:
        for name in names:
            found = fetch_depth(connection, name)
            if found is None or found.ready:
                untried.append(name)
                continue
            channel: Any = connection.channel()
            try:
                method, _, _ = channel.basic_get(name)
            except ChannelClosedByBroker:
                refused.append(name)
                continue
            if method is not None:  # a message has arrived since
                channel.basic_nack(method.delivery_tag, requeue=True)
            channel.close()
    return refused, untried
