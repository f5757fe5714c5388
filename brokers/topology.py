"""Make the exchange and the queues, or see that they are there."""

import logging
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any

import pika
from pika.exceptions import AMQPConnectionError, ChannelClosedByBroker

from brokers.errors import BrokerUnreachableError, TopologyError
from brokers.link import describe, parameters, unreachable
from brokers.publisher import EXCHANGE
from brokers.queues import Queue
from workshed.duration import ms

logger = logging.getLogger(__name__)

ACCESS_REFUSED = 403
NOT_FOUND = 404
PRECONDITION_FAILED = 406
CONNECT_TIMEOUT_S = 5


def arguments(queue: Queue) -> dict[str, Any]:
    """Return the arguments a queue is declared with; they can never change afterwards."""
    found: dict[str, Any] = {
        "x-queue-type": queue.kind,
        "x-dead-letter-exchange": EXCHANGE,
        "x-dead-letter-routing-key": queue.dead,
        "x-consumer-timeout": ms(seconds=queue.consumer_timeout.total_seconds()),
    }
    if queue.kind == "classic":
        return found | ({"x-max-priority": queue.levels} if queue.levels else {})
    return found | {
        # RabbitMQ 4.0 counts every return of a message, a clean shutdown's too, and would bury
        # bystanders.
        "x-delivery-limit": -1,
        # A dead letter leaves only once its queue has confirmed it; that needs this overflow.
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


def ensure(urls: list[str], queues: Iterable[Queue]) -> None:
    """Declare what is missing; where the user may not, check that it is there.

    Raises `BrokerUnreachableError`, or `TopologyError` which names the queue and the argument.
    """
    with opened(urls) as connection:
        for queue in queues:
            _ensure_queue(connection, queue)


def check(urls: list[str], queues: Iterable[Queue]) -> None:
    """See that every queue is there; change nothing. Raises as `ensure` does."""
    with opened(urls) as connection:
        for queue in queues:
            _check(connection, queue)


@contextmanager
def opened(urls: list[str]) -> Generator[pika.BlockingConnection]:
    """Hold a short-lived connection."""
    connection = connect(urls)
    try:
        yield connection
    except AMQPConnectionError as err:
        raise BrokerUnreachableError(unreachable(urls, describe(err))) from None
    finally:
        if connection.is_open:
            connection.close()


def connect(urls: list[str]) -> pika.BlockingConnection:
    """Connect to the first server that answers; raises `BrokerUnreachableError`."""
    trouble = "no server named"
    for url in urls:
        wanted = parameters(url, "topology")
        wanted.socket_timeout = wanted.stack_timeout = CONNECT_TIMEOUT_S
        try:
            return pika.BlockingConnection(wanted)
        except AMQPConnectionError as err:
            trouble = describe(err)
    raise BrokerUnreachableError(unreachable(urls, trouble))


def _ensure_queue(connection: pika.BlockingConnection, queue: Queue) -> None:
    try:
        _declare(connection.channel(), queue)
    except ChannelClosedByBroker as err:
        if err.reply_code == PRECONDITION_FAILED:
            raise TopologyError(
                f"queue {queue.name!r} exists with other arguments: "
                f"{err.reply_text.removeprefix('PRECONDITION_FAILED - ')}. A queue "
                "keeps what it was made with: let it run empty, delete it, and start again"
            ) from None
        if err.reply_code != ACCESS_REFUSED:
            raise TopologyError(f"queue {queue.name!r}: {err.reply_text}") from None
        _check(connection, queue)


def _declare(channel: Any, queue: Queue) -> None:
    channel.exchange_declare(EXCHANGE, "direct", durable=True)
    dead = {"x-queue-type": "quorum"}
    channel.queue_declare(queue.dead, durable=True, arguments=dead)
    channel.queue_bind(queue.dead, EXCHANGE, queue.dead)
    channel.queue_declare(queue.name, durable=True, arguments=arguments(queue))
    channel.queue_bind(queue.name, EXCHANGE, queue.name)
    channel.close()


def _check(connection: pika.BlockingConnection, queue: Queue) -> None:
    """See that a queue was made, by whoever may; its binding cannot be seen from here."""
    for name in (queue.name, queue.dead):
        channel = connection.channel()
        try:
            channel.queue_declare(name, passive=True)
        except ChannelClosedByBroker as err:
            what = "does not exist" if err.reply_code == NOT_FOUND else err.reply_text
            raise TopologyError(
                f"queue {name!r}: {what}; run `workshed broker setup` as a user who may declare it"
            ) from None
        channel.close()
