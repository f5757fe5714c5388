"""Make the exchange and the queues, or see that they are there."""

import contextlib
import functools
import logging
import re
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any

import pika
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import (
    AMQPConnectionError,
    AMQPError,
    ChannelClosedByBroker,
    StreamLostError,
)

from brokers.address import describe, parameters, unreachable
from brokers.errors import BrokerUnreachableError, QueueAwayError, TopologyError
from brokers.publisher import EXCHANGE
from brokers.queues import Queue
from brokers.refusals import is_away
from workshed.duration import ms

logger = logging.getLogger(__name__)

EXCHANGE_TYPE = "direct"
# Without the limit, RabbitMQ 4.0 drops a dead letter that was looked at twenty times in its UI.
DEAD_ARGUMENTS: dict[str, Any] = {"x-queue-type": "quorum", "x-delivery-limit": -1}
ACCESS_REFUSED = 403
NOT_FOUND = 404
PRECONDITION_FAILED = 406
Version = tuple[int, int]
FIRST: Version = (4, 0)
STRICT_LEVELS: Version = (4, 3)
"""From here on a quorum queue serves its levels strictly; before, above 4 is high and below low."""
TIMEOUT_S = 5.0
"""Longest that `ensure` and `check` take, with all their servers and queues."""
LATE = "it did not answer in time"
# What pika lets through of a connection that could not be made: the last two come from the socket,
# the name service and TLS as they are.
CONNECT_ERRORS = (AMQPConnectionError, AMQPConnectorException, OSError)


def arguments(queue: Queue, version: Version = FIRST) -> dict[str, Any]:
    """Return the arguments a queue is declared with; they can never change afterwards.

    `version` of RabbitMQ: before 4.3 a quorum queue with levels is refused, and has two of them.
    """
    found: dict[str, Any] = {
        "x-queue-type": queue.kind,
        "x-dead-letter-exchange": EXCHANGE,
        "x-dead-letter-routing-key": queue.dead,
        "x-consumer-timeout": ms(seconds=queue.consumer_timeout.total_seconds()),
    }
    if queue.kind == "classic":
        return found | ({"x-max-priority": queue.levels} if queue.levels else {})
    if queue.levels and version >= STRICT_LEVELS:
        found["x-max-priority"] = queue.levels
    return found | {
        # RabbitMQ 4.0 counts every return of a message, a clean shutdown's too, and would bury
        # bystanders.
        "x-delivery-limit": -1,
        # A dead letter leaves only once its queue has confirmed it; that needs this overflow.
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


def members(queue: Queue, wanted: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what is made for a queue, in this order: its dead queue, and itself as `wanted`."""
    return {queue.dead: DEAD_ARGUMENTS, queue.name: wanted}


def ensure(urls: list[str], queues: Iterable[Queue], timeout_s: float = TIMEOUT_S) -> None:
    """Declare what is missing; where the user may not, check that it is there.

    Raises `BrokerUnreachableError`, or `TopologyError` which names the queue and the argument;
    `QueueAwayError` for one that is on a node which does not run.
    """
    first: QueueAwayError | None = None
    deadline = time.monotonic() + timeout_s
    with opened(urls, timeout_s) as connection:
        for queue in queues:
            try:
                _ensure_queue(connection, queue)
            except QueueAwayError as err:
                first = first or err
            except StreamLostError as err:
                if time.monotonic() < deadline:
                    raise
                # RabbitMQ 4.0 looks for a node that is gone for a minute before it says so.
                raise away(queue.name, LATE) from err
    if first is not None:
        raise first


def check(urls: list[str], queues: Iterable[Queue]) -> None:
    """See that every queue is there; change nothing. Raises as `ensure` does."""
    with opened(urls) as connection:
        for queue in queues:
            _check(connection, queue)


def bind(urls: list[str], names: Iterable[str]) -> None:
    """Let the exchange, made anew where it is gone, lead to those queues that are there.

    Raises `BrokerUnreachableError`, or `TopologyError` where the user may not.
    """
    with opened(urls) as connection:
        for name in names:
            channel: Any = connection.channel()
            try:
                channel.exchange_declare(EXCHANGE, EXCHANGE_TYPE, durable=True)
                channel.queue_bind(name, EXCHANGE, name)
            except ChannelClosedByBroker as err:
                if err.reply_code != NOT_FOUND:
                    raise TopologyError(f"queue {name!r}: {err.reply_text}") from None
            else:
                channel.close()


@contextmanager
def opened(urls: list[str], timeout_s: float = TIMEOUT_S) -> Generator[pika.BlockingConnection]:
    """Hold a connection for at most `timeout_s`; raises `BrokerUnreachableError`."""
    deadline = time.monotonic() + timeout_s
    connection = connect(urls, timeout_s)
    _end_at(deadline, connection)
    try:
        yield connection
        connection.close()
    except AMQPConnectionError as err:
        raise BrokerUnreachableError(unreachable(urls, describe(err))) from None
    finally:
        if connection.is_open:
            with contextlib.suppress(AMQPError):
                connection.close()


def connect(urls: list[str], timeout_s: float = TIMEOUT_S) -> pika.BlockingConnection:
    """Connect to the first server that answers; raises `BrokerUnreachableError`."""
    trouble = "no server named"
    for url in urls:
        wanted = parameters(url, "topology")
        wanted.socket_timeout = wanted.stack_timeout = timeout_s / len(urls)
        try:
            return pika.BlockingConnection(wanted)
        except CONNECT_ERRORS as err:
            trouble = describe(err)
    raise BrokerUnreachableError(unreachable(urls, trouble))


def _end_at(deadline: float, connection: Any) -> None:
    """Break off a connection that RabbitMQ has not answered on by then.

    A blocking call of pika waits for ever, and serves the timers of its inner connection only.
    """
    inner = connection._impl  # noqa: SLF001
    error = StreamLostError(LATE)
    left_s = max(0.0, deadline - time.monotonic())
    inner.ioloop.call_later(left_s, functools.partial(inner._terminate_stream, error))  # noqa: SLF001


def version(connection: Any) -> Version:
    """Read the version of the server behind a connection; an unreadable one counts as the first."""
    words = connection._impl.server_properties.get("version", b"")  # noqa: SLF001
    return read_version(words.decode() if isinstance(words, bytes) else str(words))


def read_version(text: str) -> Version:
    """Read a version as RabbitMQ writes it."""
    found = re.match(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else FIRST


def _ensure_queue(connection: pika.BlockingConnection, queue: Queue) -> None:
    wanted = arguments(queue, version(connection))
    try:
        _declare(connection.channel(), queue, wanted)
    except ChannelClosedByBroker as err:
        if err.reply_code == PRECONDITION_FAILED and wanted != arguments(queue):
            _keep_without_levels(connection, queue)
            return
        if err.reply_code == PRECONDITION_FAILED:
            raise TopologyError(
                f"queue {queue.name!r} exists with other arguments: "
                f"{err.reply_text.removeprefix('PRECONDITION_FAILED - ')}. A queue "
                "keeps what it was made with: let it run empty, delete it, and start again"
            ) from None
        if is_away(err):
            raise away(queue.name, err.reply_text) from None
        if err.reply_code != ACCESS_REFUSED:
            raise TopologyError(f"queue {queue.name!r}: {err.reply_text}") from None
        _check(connection, queue)


def away(name: str, said: str) -> QueueAwayError:
    """Say how to go on without the node that a queue is on."""
    return QueueAwayError(
        f"queue {name!r} is away: {said}. It comes back with its node; where that is lost, run "
        "rabbitmqctl forget_cluster_node on another, and the queue is made anew"
    )


def _keep_without_levels(connection: pika.BlockingConnection, queue: Queue) -> None:
    """Use a quorum queue that was made before RabbitMQ had strict levels."""
    try:
        _declare(connection.channel(), queue, arguments(queue))
    except ChannelClosedByBroker as err:
        raise TopologyError(f"queue {queue.name!r}: {err.reply_text}") from None
    logger.warning(
        "queue %r was made before RabbitMQ 4.3 and keeps two priorities; for %d strict levels let "
        "it run empty, delete it, and start again",
        queue.name,
        queue.levels,
    )


def _declare(channel: Any, queue: Queue, wanted: dict[str, Any]) -> None:
    channel.exchange_declare(EXCHANGE, EXCHANGE_TYPE, durable=True)
    for name, with_arguments in members(queue, wanted).items():
        channel.queue_declare(name, durable=True, arguments=with_arguments)
        channel.queue_bind(name, EXCHANGE, name)
    channel.close()


def _check(connection: pika.BlockingConnection, queue: Queue) -> None:
    """See that a queue was made, by whoever may; its binding cannot be seen from here."""
    for name in (queue.name, queue.dead):
        channel = connection.channel()
        try:
            channel.queue_declare(name, passive=True)
        except ChannelClosedByBroker as err:
            if is_away(err):
                raise away(name, err.reply_text) from None
            what = "does not exist" if err.reply_code == NOT_FOUND else err.reply_text
            raise TopologyError(
                f"queue {name!r}: {what}; run `workshed broker setup` as a user who may declare it"
            ) from None
        channel.close()
