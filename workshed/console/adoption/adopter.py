"""Take messages from the queues of stock dramatiq, and acknowledge each once it is stored."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import pika
from dramatiq.common import dq_name, xq_name
from pika.exceptions import AMQPError, ChannelClosedByBroker

from workshed import db
from workshed.backoff import jittered_backoff_s
from workshed.console.adoption.storage import AdoptionStore, Delivery, Fate
from workshed.console.errors import NotFoundError
from workshed.console.rabbitmq.amqp import CONNECT_TIMEOUT
from workshed.transport.amqp import topology
from workshed.transport.amqp import url as address
from workshed.transport.errors import BrokerUnreachableError
from workshed.transport.rabbitmq import RabbitMQBroker

PREFETCH = 500
"""Most messages of one queue that are in hand."""
POLL_S = 0.2
PAUSE_S = 1.0
LONGEST_PAUSE_S = 15.0
NOT_FOUND = 404
BLOCKED_TIMEOUT = timedelta(seconds=30)

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Source:
    """A queue of dramatiq's."""

    name: str
    """On its server: `default`, `default.DQ` or `default.XQ`."""
    queue: str
    """The queue of its jobs: `default`."""
    is_dead: bool = False


class Adopter:
    """Moves messages from one server to the schedule, until it is stopped or nothing arrives."""

    def __init__(
        self, url: str, queues: Sequence[str], broker: RabbitMQBroker, *, with_dead: bool
    ) -> None:
        """Open nothing. `with_dead`: also take what is in the `.XQ` of each queue."""
        self.counts: Counter[Fate] = Counter()
        """How many messages had each fate."""
        self.stopped = threading.Event()
        """Set it to make `run` return."""
        self._url = url
        self._store = AdoptionStore(broker)
        live = [Source(name, queue) for queue in queues for name in (queue, dq_name(queue))]
        dead = [Source(xq_name(queue), queue, is_dead=True) for queue in queues if with_dead]
        self._sources = [*live, *dead]
        self._consumed: dict[str, Source] = {}
        """By consumer tag: the queues that it consumes now."""
        self._taken: list[Delivery] = []
        self._last_at = time.monotonic()

    def check(self) -> None:
        """Raise `NotFoundError` if a queue does not exist, or `BrokerUnreachableError`."""
        connection = self._connect()
        try:
            for source in self._sources:
                if source.name == source.queue and not has_queue(connection, source.name):
                    place = address.display_address(self._url)
                    raise NotFoundError(f"RabbitMQ at {place} has no queue {source.name!r}")
        finally:
            connection.close()

    def run(self, report: Report, until_idle: timedelta | None = None) -> None:
        """Move messages until stopped, until all queues are deleted, or until nothing arrives.

        `until_idle`: how long nothing has to arrive. Outages of either server are waited for, and
        are passed to `report`.
        """
        failures, self._last_at = 0, time.monotonic()
        while not self._is_over(until_idle):
            try:
                connection = self._connect()
                failures = 0
                try:
                    self._consume(connection, report, until_idle)
                finally:
                    self._taken.clear()  # RabbitMQ delivers them again
                    if connection.is_open:
                        connection.close()
            except (BrokerUnreachableError, AMQPError) as err:
                report(f"{address.describe_error(err)}; trying again")
                self.stopped.wait(jittered_backoff_s(failures, PAUSE_S, LONGEST_PAUSE_S))
                self._last_at = time.monotonic()
                failures += 1
            else:
                return

    def _is_over(self, until_idle: timedelta | None) -> bool:
        idle_s = time.monotonic() - self._last_at
        is_idle = until_idle is not None and idle_s >= until_idle.total_seconds()
        return self.stopped.is_set() or is_idle

    def _connect(self) -> pika.BlockingConnection:
        wanted = address.connection_parameters(self._url, "adopt")
        wanted.socket_timeout = wanted.stack_timeout = CONNECT_TIMEOUT.total_seconds()
        wanted.blocked_connection_timeout = BLOCKED_TIMEOUT.total_seconds()
        try:
            return pika.BlockingConnection(wanted)
        except topology.CONNECT_ERRORS as err:
            place, why = address.display_address(self._url), address.describe_error(err)
            raise BrokerUnreachableError(f"RabbitMQ does not answer at {place}: {why}") from None

    def _consume(
        self, connection: pika.BlockingConnection, report: Report, until_idle: timedelta | None
    ) -> None:
        channel: Any = connection.channel()
        channel.basic_qos(prefetch_count=PREFETCH)
        channel.add_on_cancel_callback(partial(self._forget, report))
        self._consumed.clear()
        for source in self._sources:
            if has_queue(connection, source.name):
                tag = channel.basic_consume(source.name, partial(self._take, source))
                self._consumed[tag] = source
        while self._consumed and not self._is_over(until_idle):
            connection.process_data_events(time_limit=POLL_S)
            while self._taken and not self.stopped.is_set():
                try:
                    with db.limited_wait():
                        self._move(channel)
                except db.TRANSIENT_ERRORS as err:
                    report(f"PostgreSQL: {str(err).strip()}; trying again")
                    connection.sleep(PAUSE_S)

    def _take(
        self, source: Source, _channel: Any, method: Any, _properties: Any, body: bytes
    ) -> None:
        self._last_at = time.monotonic()
        self._taken.append(
            Delivery(source.queue, method.delivery_tag, body, method.redelivered, source.is_dead)
        )

    def _forget(self, report: Report, frame: Any) -> None:
        source = self._consumed.pop(frame.method.consumer_tag)
        report(f"queue {source.name!r} was deleted")

    def _move(self, channel: Any) -> None:
        """Store the oldest messages in hand, and acknowledge them after the commit."""
        taken = self._taken[:PREFETCH]
        fates = self._store.store(taken)
        channel.basic_ack(taken[-1].tag, multiple=True)
        del self._taken[: len(taken)]
        self.counts.update(fates)


def has_queue(connection: pika.BlockingConnection, name: str) -> bool:
    """Return whether a queue exists."""
    channel: Any = connection.channel()
    try:
        channel.queue_declare(name, passive=True)
    except ChannelClosedByBroker as err:
        if err.reply_code == NOT_FOUND:
            return False
        raise
    channel.close()
    return True
