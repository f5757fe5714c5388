"""Declare the exchange and the queues, or check that they exist."""

import contextlib
import functools
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

from workshed.queues import Queue
from workshed.transport.amqp.arguments import (
    DEAD_QUEUE_ARGUMENTS,
    EXCHANGE,
    NEWEST_VERSION,
    OLDEST_VERSION,
    Version,
    parse_version,
    queue_arguments,
)
from workshed.transport.amqp.replies import (
    ACCESS_REFUSED,
    NOT_FOUND,
    PRECONDITION_FAILED,
    describe_unseen_queue,
    is_internal_error,
    is_queue_unavailable,
    is_unknown_argument,
)
from workshed.transport.amqp.url import connection_parameters, describe_error, unreachable_message
from workshed.transport.errors import (
    BrokerUnreachableError,
    QueueUnavailableError,
    TopologyError,
    UnseenQueueError,
)

EXCHANGE_TYPE = "direct"
TIMEOUT_S = 5.0
"""Longest time that `declare_queues` and `verify_queues` take, over all servers and queues."""
RETRY_S = 0.05
TIMED_OUT = "it did not answer in time"
# Errors of pika if it cannot connect. The last two come unchanged from the socket, the name
# service and TLS.
CONNECT_ERRORS = (AMQPConnectionError, AMQPConnectorException, OSError)


def queue_and_dead_letter(queue: Queue, arguments: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what to declare for a queue, in this order: its dead queue, then itself."""
    return {queue.dead_rabbitmq_name: DEAD_QUEUE_ARGUMENTS, queue.rabbitmq_name: arguments}


def declare_queues(urls: list[str], queues: Iterable[Queue], timeout_s: float = TIMEOUT_S) -> None:
    """Declare missing queues; if the user may not, check that they exist.

    A queue that RabbitMQ refuses does not prevent the declaration of the others. Afterwards raises
    `TopologyError`, which names each refused queue and the argument; or `UnseenQueueError` if the
    account may neither create a queue nor see it; or `QueueUnavailableError` if a queue is on a
    node that is down.

    Raises `BrokerUnreachableError` at once, except that it retries an internal error of RabbitMQ
    for `timeout_s`. RabbitMQ 4.0 reports one, and closes the connection, if the first tick of a new
    quorum queue comes before its leader is ready; the queue exists afterwards.
    """
    wanted = list(queues)
    deadline = time.monotonic() + timeout_s
    failed: BrokerUnreachableError | None = None
    while True:
        try:
            return _declare_all(urls, wanted, deadline)
        except BrokerUnreachableError as err:
            if not is_internal_error(err.__context__):
                raise (failed or err) from None  # the last try may have had no time to connect
            failed = err
            if time.monotonic() + RETRY_S > deadline:
                raise
            time.sleep(RETRY_S)


def _declare_all(urls: list[str], queues: Iterable[Queue], deadline: float) -> None:
    problems: list[TopologyError | QueueUnavailableError] = []
    with open_connection(urls, deadline - time.monotonic()) as connection:
        for queue in queues:
            try:
                _ensure_queue(connection, queue)
            except (TopologyError, QueueUnavailableError) as err:
                problems.append(err)
            except StreamLostError as err:
                if time.monotonic() < deadline:
                    raise
                # RabbitMQ 4.0 looks for a lost node for a minute before it reports that.
                raise queue_unavailable(queue.rabbitmq_name, TIMED_OUT) from err
    if problems:
        raise combine_problems(problems)


def combine_problems(
    problems: Iterable[TopologyError | QueueUnavailableError],
) -> TopologyError | QueueUnavailableError:
    """Return one error for all: the refused queues together, otherwise the first of the others."""
    found = list(problems)
    refused = [err for err in found if type(err) is TopologyError]
    if len(refused) > 1:
        return TopologyError("\n".join(map(str, refused)))
    return next(iter([*refused, *found]))


def verify_queues(urls: list[str], queues: Iterable[Queue]) -> None:
    """Check that every queue exists; change nothing. Raises like `declare_queues`."""
    with open_connection(urls) as connection:
        for queue in queues:
            _verify_queue(connection, queue)


def rebind_queues(urls: list[str], names: Iterable[str]) -> None:
    """Bind existing queues to the exchange, and recreate the exchange if it is gone.

    Raises `BrokerUnreachableError`, or `TopologyError` if the user lacks the permission.
    """
    with open_connection(urls) as connection:
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
def open_connection(
    urls: list[str], timeout_s: float = TIMEOUT_S
) -> Generator[pika.BlockingConnection]:
    """Hold a connection for at most `timeout_s`; raises `BrokerUnreachableError`."""
    deadline = time.monotonic() + timeout_s
    connection = connect_to_first(urls, timeout_s)
    _abort_at(deadline, connection)
    try:
        yield connection
        connection.close()
    except AMQPConnectionError as err:
        raise BrokerUnreachableError(unreachable_message(urls, describe_error(err))) from None
    finally:
        if connection.is_open:
            with contextlib.suppress(AMQPError):
                connection.close()


def connect_to_first(urls: list[str], timeout_s: float = TIMEOUT_S) -> pika.BlockingConnection:
    """Connect to the first server that answers; raises `BrokerUnreachableError`."""
    trouble = "no server named"
    for url in urls:
        wanted = connection_parameters(url, "topology")
        wanted.socket_timeout = wanted.stack_timeout = timeout_s / len(urls)
        try:
            return pika.BlockingConnection(wanted)
        except CONNECT_ERRORS as err:
            trouble = describe_error(err)
    raise BrokerUnreachableError(unreachable_message(urls, trouble))


def _abort_at(deadline: float, connection: Any) -> None:
    """Break off a connection on which RabbitMQ has not answered by the deadline.

    A blocking call of pika waits forever, and runs only the timers of its inner connection.
    """
    inner = connection._impl  # noqa: SLF001
    error = StreamLostError(TIMED_OUT)
    left_s = max(0.0, deadline - time.monotonic())
    inner.ioloop.call_later(left_s, functools.partial(inner._terminate_stream, error))  # noqa: SLF001


def server_version(connection: Any) -> Version:
    """Return the version of the server, or the first supported one if it is unreadable."""
    words = connection._impl.server_properties.get("version", b"")  # noqa: SLF001
    return parse_version(words.decode() if isinstance(words, bytes) else str(words))


def _ensure_queue(connection: pika.BlockingConnection, queue: Queue) -> None:
    server = server_version(connection)
    try:
        # RabbitMQ does not compare the consumer timeout of a classic queue, so a queue from an
        # older server passes.
        _declare_queue(connection.channel(), queue, queue_arguments(queue, server))
    except ChannelClosedByBroker as err:
        _explain_refusal(connection, queue, err, server)


def _explain_refusal(
    connection: pika.BlockingConnection, queue: Queue, err: ChannelClosedByBroker, server: Version
) -> None:
    """Say why RabbitMQ refused a declaration, unless it only refused this account."""
    said = str(err.reply_text).removeprefix("PRECONDITION_FAILED - ")
    if is_unknown_argument(err):
        raise TopologyError(
            f"queue {queue.rabbitmq_name!r} was not created: RabbitMQ "
            f"{format_version(server)} does "
            f"not accept one of its arguments ({said}). This release of Workshed supports RabbitMQ "
            f"{format_version(OLDEST_VERSION)} to {format_version(NEWEST_VERSION)}: run one of "
            "these, or a release "
            "of Workshed that supports yours"
        ) from None
    if err.reply_code == PRECONDITION_FAILED:
        raise TopologyError(
            f"queue {queue.rabbitmq_name!r} exists with other arguments: {said}. A queue "
            "keeps its arguments: let it run empty, delete it, and start again. If another "
            "program owns it, set WORKSHED_QUEUE_PREFIX instead"
        ) from None
    if is_queue_unavailable(err):
        raise queue_unavailable(queue.rabbitmq_name, err.reply_text) from None
    if err.reply_code != ACCESS_REFUSED:
        raise TopologyError(f"queue {queue.rabbitmq_name!r}: {err.reply_text}") from None
    _verify_queue(connection, queue)


def format_version(server: Version) -> str:
    """Format a version as RabbitMQ does."""
    return ".".join(map(str, server))


def queue_unavailable(name: str, said: str) -> QueueUnavailableError:
    """Return an error that says what to do about the node that a queue is on."""
    return QueueUnavailableError(
        f"queue {name!r} is unavailable: {said}. It comes back with its node; if that is lost, run "
        "rabbitmqctl forget_cluster_node on another node, and Workshed recreates the queue"
    )


def _declare_queue(channel: Any, queue: Queue, own_arguments: dict[str, Any]) -> None:
    channel.exchange_declare(EXCHANGE, EXCHANGE_TYPE, durable=True)
    for name, with_arguments in queue_and_dead_letter(queue, own_arguments).items():
        channel.queue_declare(name, durable=True, arguments=with_arguments)
        channel.queue_bind(name, EXCHANGE, name)
    channel.close()


def _verify_queue(connection: pika.BlockingConnection, queue: Queue) -> None:
    """Check that a queue exists; AMQP cannot show its binding."""
    for name in (queue.rabbitmq_name, queue.dead_rabbitmq_name):
        channel = connection.channel()
        try:
            channel.queue_declare(name, passive=True)
        except ChannelClosedByBroker as err:
            if is_queue_unavailable(err):
                raise queue_unavailable(name, err.reply_text) from None
            setup = "run `workshed broker setup` as a user who may declare it"
            if err.reply_code == ACCESS_REFUSED:
                said = describe_unseen_queue(name, err.reply_text)
                raise UnseenQueueError(f"{said}. If the queue is missing, {setup}") from None
            what = "does not exist" if err.reply_code == NOT_FOUND else err.reply_text
            raise TopologyError(f"queue {name!r}: {what}; {setup}") from None
        channel.close()
