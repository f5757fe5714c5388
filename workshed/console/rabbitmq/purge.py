"""Purge a queue of RabbitMQ: end each ready job as a worker ends a cancelled one.

RabbitMQ's own purge knows nothing of jobs: unique keys would stay held, batches would never end,
and relays would publish jobs of classic queues again.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from pika.exceptions import ChannelClosedByBroker

from workshed.console.purging import PurgeCounts, end_message
from workshed.console.rabbitmq.amqp import keep_open
from workshed.database.postgres import Connection
from workshed.transport.errors import PublishRefusedError
from workshed.transport.rabbitmq import RabbitMQBroker

BLOCKED_TIMEOUT = timedelta(seconds=30)
"""A formality: RabbitMQ blocks only connections that publish, and this one does not."""


def purge_queue(
    broker: RabbitMQBroker,
    conn: Connection,
    name: str,
    limit: int,
    counts: PurgeCounts,
    step: Callable[[], None] = lambda: None,
) -> None:
    """End up to `limit` messages, in the order in which workers would get them.

    They are counted in `counts`, which is right even if this raises. The outcome of each is stored
    before it is acked: a crash in between leaves a copy, which a worker drops as a duplicate.
    Raises `BrokerUnreachableError` or `PublishRefusedError`.
    """
    with keep_open(broker.urls, "purge", BLOCKED_TIMEOUT) as connection:
        channel: Any = connection.channel()
        try:
            for _ in range(limit):
                method, properties, body = channel.basic_get(broker.prefix + name)
                if method is None:
                    break
                is_readable = end_message(broker, conn, name, properties.headers, body)
                counts.add(is_readable=is_readable)
                channel.basic_ack(method.delivery_tag)
                step()
        except ChannelClosedByBroker as err:
            raise PublishRefusedError(f"queue {name!r}: {err.reply_text}") from None
