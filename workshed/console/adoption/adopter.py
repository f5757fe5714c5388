"""Take messages from the queues of stock dramatiq, and acknowledge each once it is stored."""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, NoReturn

import pika
from dramatiq.common import dq_name, xq_name
from pika.exceptions import AMQPError, ChannelClosedByBroker

from workshed import db
from workshed.backoff import jittered_backoff_s
from workshed.console.adoption.storage import AdoptedMessage, AdoptionStore, Fate
from workshed.console.errors import NotFoundError
from workshed.console.rabbitmq.amqp import CONNECT_TIMEOUT
from workshed.console.rabbitmq.queue_depths import ask_leader
from workshed.errors import SettingsError
from workshed.transport.amqp import topology
from workshed.transport.amqp import url as address
from workshed.transport.consuming_broker import ConsumingBroker
from workshed.transport.errors import BrokerUnreachableError
from workshed.value_class import value_class

PREFETCH = 500
"""Most messages of one queue that are in hand."""
POLL_S = 0.2
PAUSE_S = 1.0
LONGEST_PAUSE_S = 15.0
ACCESS_REFUSED = 403
NOT_FOUND = 404
BLOCKED_TIMEOUT = timedelta(seconds=30)

Report = Callable[[str], None]


@value_class
class Source:
    """A queue of dramatiq's."""

    name: str
    """On its server: `default`, `default.DQ` or `default.XQ`."""
    queue: str
    """The queue of its jobs: `default`."""
    is_dead: bool = False


class Adopter:
    """Moves messages from one server to the schedule, until it is stopped or nothing arrives.

    It is the only consumer of its queues. Otherwise, after a kill, one of dramatiq's workers could
    get a message that is stored already, and its job would run twice.
    """

    def __init__(
        self, url: str, queues: Sequence[str], broker: ConsumingBroker[Any], *, with_dead: bool
    ) -> None:
        """Open nothing. `with_dead`: also take the messages in the `.XQ` of each queue."""
        self.counts: Counter[Fate] = Counter()
        """How many messages had each fate."""
        self.stopped = threading.Event()
        """Set it to make `run` return."""
        self._url = url
        self._store = AdoptionStore(broker)
        queues = list(dict.fromkeys(queues))
        live = [Source(name, queue) for queue in queues for name in (queue, dq_name(queue))]
        dead = [Source(xq_name(queue), queue, is_dead=True) for queue in queues if with_dead]
        self._sources = [*live, *dead]
        self._in_hand: list[AdoptedMessage] = []
        self._is_cancelled = False
        """RabbitMQ has ended a consumer, because its queue was deleted or its node is down."""
        self._failures = 0
        """Attempts in a row that did not get as far as consuming."""
        self._last_at = time.monotonic()
        """When a message last arrived or was moved."""

    def check(self) -> None:
        """Raise `NotFoundError` if there is no such queue of dramatiq, or `BrokerUnreachableError`.

        Workshed's queues have no `.DQ`, so they are not taken for dramatiq's.
        """
        with self._connection() as connection:
            for source in self._sources:
                if not source.is_dead and count_consumers(connection, source.name) is None:
                    place = address.display_address(self._url)
                    raise NotFoundError(
                        f"RabbitMQ at {place} has no queue {source.name!r}, which dramatiq makes"
                    )

    def run(self, report: Report, until_idle: timedelta | None = None) -> None:
        """Move messages until stopped, until all queues are deleted, or until nothing arrives.

        `until_idle`: how long to wait without a message. `report` is called with each outage, which
        is waited for. Raises `psycopg.Error` if nothing can be stored, for example without a right.
        """
        while not self.stopped.is_set():
            try:
                with self._connection() as connection:
                    if self._consume(connection, until_idle, report):
                        return
            except BrokerUnreachableError as err:
                report(f"{err}; trying again")
                self.stopped.wait(jittered_backoff_s(self._failures, PAUSE_S, LONGEST_PAUSE_S))
                self._failures += 1

    @contextlib.contextmanager
    def _connection(self) -> Generator[pika.BlockingConnection]:
        """Connect for the block; raises `BrokerUnreachableError`, also in the block."""
        try:
            wanted = address.connection_parameters(self._url, "adopt")
            place = address.display_address(self._url)
        except (SettingsError, ValueError) as err:
            raise SettingsError(str(err).replace(address.SETTING, "URL")) from None
        wanted.socket_timeout = wanted.stack_timeout = CONNECT_TIMEOUT.total_seconds()
        wanted.blocked_connection_timeout = BLOCKED_TIMEOUT.total_seconds()
        try:
            connection = pika.BlockingConnection(wanted)
        except topology.CONNECT_ERRORS as err:
            why = address.describe_error(err)
            raise BrokerUnreachableError(f"RabbitMQ does not answer at {place}: {why}") from None
        try:
            yield connection
        except AMQPError as err:
            why = address.describe_error(err)
            raise BrokerUnreachableError(f"RabbitMQ at {place}: {why}") from None
        finally:
            with contextlib.suppress(AMQPError):  # what it has not acknowledged is delivered again
                connection.close()

    def _consume(
        self, connection: pika.BlockingConnection, until_idle: timedelta | None, report: Report
    ) -> bool:
        """Move messages while the connection lasts; return whether there is no more to do."""
        self._in_hand.clear()  # RabbitMQ delivers them again
        counts = {source: count_consumers(connection, source.name) for source in self._sources}
        sources = [source for source, count in counts.items() if count is not None]
        if not sources:
            report("the queues were deleted")
            return True
        for source in sources:
            if counts[source]:
                raise_consumed(source.name)
        channel: Any = connection.channel()
        channel.basic_qos(prefetch_count=PREFETCH)
        channel.add_on_cancel_callback(self._note_cancel)
        self._is_cancelled = False
        for source in sources:
            consume_alone(channel, source.name, partial(self._take, source))
        self._failures, self._last_at = 0, time.monotonic()
        while channel.is_open and not self._is_cancelled:
            if self.stopped.is_set() or self._is_idle(until_idle):
                return True
            connection.process_data_events(time_limit=POLL_S)
            while self._in_hand and not self.stopped.is_set():
                self._move(connection, channel, report)
        return False

    def _is_idle(self, until_idle: timedelta | None) -> bool:
        idle_s = time.monotonic() - self._last_at
        return until_idle is not None and idle_s >= until_idle.total_seconds()

    def _take(
        self, source: Source, _channel: Any, method: Any, _properties: Any, body: bytes
    ) -> None:
        self._last_at = time.monotonic()
        self._in_hand.append(
            AdoptedMessage(
                source.queue, method.delivery_tag, body, method.redelivered, source.is_dead
            )
        )

    def _note_cancel(self, _frame: Any) -> None:
        self._is_cancelled = True

    def _move(self, connection: pika.BlockingConnection, channel: Any, report: Report) -> None:
        """Store the oldest messages in hand, and acknowledge them after the commit."""
        oldest = self._in_hand[:PREFETCH]
        try:
            with db.limited_wait():
                fates = self._store.store(oldest)
        except db.TRANSIENT_ERRORS as err:
            # The commit may have succeeded.
            self._in_hand = [replace(each, redelivered=True) for each in self._in_hand]
            report(f"PostgreSQL: {str(err).strip()}; trying again")
            connection.sleep(PAUSE_S)
            return
        channel.basic_ack(oldest[-1].tag, multiple=True)
        del self._in_hand[: len(oldest)]
        self._last_at = time.monotonic()
        self.counts.update(fates)


def count_consumers(connection: pika.BlockingConnection, name: str) -> int | None:
    """Return how many consumers a queue has; `None` if it does not exist.

    Raises `AMQPError` or `BrokerUnreachableError` if that is not known now.
    """
    try:
        return ask_leader(connection, name).consumers
    except ChannelClosedByBroker as err:
        # The same code says that the node of a queue is down.
        if err.reply_code == NOT_FOUND and "no queue" in err.reply_text:
            return None
        raise


def consume_alone(channel: Any, name: str, take: Callable[..., None]) -> None:
    """Consume a queue, and keep others from it; RabbitMQ does the latter for classic queues only.

    Raises `BrokerUnreachableError` while it has another consumer.
    """
    try:
        channel.basic_consume(name, take, exclusive=True)
    except ChannelClosedByBroker as err:
        if err.reply_code != ACCESS_REFUSED or "exclusive" not in err.reply_text:
            raise
        raise_consumed(name)


def raise_consumed(name: str) -> NoReturn:
    """Raise `BrokerUnreachableError`; the consumer may be this command before it was killed."""
    raise BrokerUnreachableError(
        f"{name} has other consumers: stop dramatiq's workers, which could run a job that is moved"
    ) from None
