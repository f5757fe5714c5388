"""Take deliveries, and settle each on the channel it came through."""

import contextlib
import functools
import hashlib
import logging
import queue as queues
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Literal

import dramatiq
import pika
from dramatiq.broker import Consumer, MessageProxy

from brokers.envelope import decode
from brokers.errors import EnvelopeError
from brokers.link import Link
from brokers.queues import Queue
from middleware import Job
from workshed import db
from workshed.jobs import dead

logger = logging.getLogger(__name__)

REOPEN_PAUSE_S = 1.0
SHARE_OF_TIMEOUT = 0.75
"""Share of the consumer timeout after which a delivery that could not be settled is given back."""

Verb = Literal["ack", "reject", "requeue"]


class Delivery(MessageProxy):
    """A message with the channel it came through; a tag means nothing on any other channel."""

    def __init__(
        self, message: dramatiq.Message[Any], channel: Any, method: Any, *, copied: bool
    ) -> None:
        """Keep what an ack needs."""
        super().__init__(message)
        self.job = Job(message, copied=copied)
        self.channel = channel
        self.tag: int = method.delivery_tag
        self.received = time.monotonic()
        self.held = False
        """Its outcome could not be stored: it is neither acked nor rejected."""

    def is_ours(self, queue: Queue) -> bool:
        """Tell whether RabbitMQ still waits for us to settle it."""
        limit = queue.consumer_timeout.total_seconds() * SHARE_OF_TIMEOUT
        return bool(self.channel.is_open) and time.monotonic() - self.received < limit


class Inbox:
    """The consuming side of a process: one connection, a channel per queue."""

    def __init__(self, urls: list[str], name: str) -> None:
        """Nothing is opened before the first queue is consumed."""
        self.stopping = threading.Event()
        self._link = Link(urls, name, self._on_open, lambda: None)
        self._started = False
        self._lock = threading.Lock()
        self._consumers: list[QueueConsumer] = []
        self._connection: Any = None
        self._settled: deque[tuple[Any, int, Verb]] = deque()

    def consume(self, consumer: "QueueConsumer") -> None:
        """Open the consumer's channel, now and after each reconnect."""
        with self._lock:
            if not self._started:
                self._link.start()
                self._started = True
        self._link.call(lambda: self._add(consumer))

    def settle(self, channel: Any, tag: int, verb: Verb) -> None:
        """Settle a delivery soon; on a dead channel nothing happens, RabbitMQ has it again."""
        self._settled.append((channel, tag, verb))
        self._link.call(self._flush)

    def drop(self, consumer: "QueueConsumer") -> None:
        """Close a consumer's channel, and do not open it again."""
        self._link.call(lambda: self._remove(consumer))

    def stop_consuming(self) -> None:
        """Let RabbitMQ send nothing more; what runs can still be settled."""
        self.stopping.set()
        if self._started:
            stopped = threading.Event()
            self._link.call(lambda: self._cancel_all(stopped))
            stopped.wait(1)

    def close(self) -> None:
        """Send the last acks and close the connection."""
        self.stopping.set()
        if self._started:
            self._link.call(self._flush)
            self._link.close()

    def later(self, delay_s: float, what: Callable[[], None]) -> None:
        """Run `what` in the I/O thread after a delay."""
        self._link.later(delay_s, what)

    def _on_open(self, connection: pika.SelectConnection) -> None:
        self._connection = connection
        for consumer in self._consumers:
            consumer.open(connection)

    def _add(self, consumer: "QueueConsumer") -> None:
        self._consumers.append(consumer)
        if self._connection is not None and self._connection.is_open:
            consumer.open(self._connection)

    def _remove(self, consumer: "QueueConsumer") -> None:
        if consumer in self._consumers:
            self._consumers.remove(consumer)
        consumer.shut()

    def _cancel_all(self, stopped: threading.Event) -> None:
        for consumer in self._consumers:
            consumer.cancel()
        stopped.set()

    def _flush(self) -> None:
        while self._settled:
            channel, tag, verb = self._settled.popleft()
            if not channel.is_open:
                logger.info("%s for a lost channel dropped; the job is delivered again", verb)
            elif verb == "ack":
                channel.basic_ack(tag)
            else:
                channel.basic_reject(tag, requeue=verb == "requeue")


class QueueConsumer(Consumer):
    """What dramatiq's consumer thread of one queue iterates over.

    Gives a delivery or `None`, and never an error on a reconnect: dramatiq would then make a
    second consumer beside the first.
    """

    def __init__(self, inbox: Inbox, queue: Queue, prefetch: int, timeout_s: float) -> None:
        """Start consuming."""
        self._inbox = inbox
        self._queue = queue
        self._prefetch = prefetch
        self._timeout_s = timeout_s
        self._arrived: queues.SimpleQueue[tuple[Any, Any, Any, bytes]] = queues.SimpleQueue()
        self._channel: Any = None
        self._tag: str | None = None
        self._connection: Any = None
        self._dropped = False
        inbox.consume(self)

    def __next__(self) -> Delivery | None:
        """Return the next readable delivery; `None` when none came in time."""
        try:
            channel, method, properties, body = self._arrived.get(timeout=self._timeout_s)
        except queues.Empty:
            return None
        if not channel.is_open:
            return None  # RabbitMQ has it again
        try:
            message = decode(body, self._queue.name)
        except EnvelopeError as err:
            self._bury(channel, method, properties, body, err)
            return None
        headers = properties.headers or {}
        copied = bool(method.redelivered or headers.get("again") or headers.get("via"))
        return Delivery(message, channel, method, copied=copied)

    def ack(self, message: MessageProxy) -> None:
        """Settle a job whose outcome is stored."""
        self._settle(message, "ack")

    def nack(self, message: MessageProxy) -> None:
        """Send a job whose outcome cannot be stored to the dead queue."""
        self._settle(message, "reject")

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Give back deliveries that were not started."""
        for message in messages:
            self._settle(message, "requeue")

    def close(self) -> None:
        """Stop consuming; RabbitMQ takes back what was not settled."""
        self._inbox.drop(self)

    def open(self, connection: Any) -> None:
        """Open a channel once per connection; in the I/O thread."""
        if self._connection is connection or self._inbox.stopping.is_set():
            return
        self._connection = connection
        connection.channel(on_open_callback=self._on_channel)

    def cancel(self) -> None:
        """Let RabbitMQ send nothing more on this channel; in the I/O thread."""
        if self._channel is not None and self._channel.is_open and self._tag is not None:
            self._channel.basic_cancel(self._tag)
        with contextlib.suppress(queues.Empty):
            while True:
                channel, method, _properties, _body = self._arrived.get_nowait()
                self._inbox.settle(channel, method.delivery_tag, "requeue")

    def shut(self) -> None:
        """Close the channel, for good; in the I/O thread."""
        self._dropped = True
        if self._channel is not None and self._channel.is_open:
            self._channel.close()
        self._channel = None

    def _settle(self, message: MessageProxy, verb: Verb) -> None:
        if not isinstance(message, Delivery):
            raise TypeError(f"{message!r} did not come through this consumer")
        self._inbox.settle(message.channel, message.tag, "requeue" if message.held else verb)

    def _on_channel(self, channel: Any) -> None:
        if self._dropped or self._inbox.stopping.is_set():
            channel.close()
            return
        self._channel = channel
        channel.add_on_close_callback(self._on_closed)
        channel.add_on_cancel_callback(lambda _: channel.close())  # its queue was deleted
        channel.basic_qos(prefetch_count=self._prefetch)
        self._tag = channel.basic_consume(self._queue.name, self._on_delivery)

    def _on_delivery(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        self._arrived.put((channel, method, properties, body))

    def _on_closed(self, channel: Any, error: Exception) -> None:
        if channel is not self._channel:
            return
        self._channel = None
        if self._connection.is_open and not self._inbox.stopping.is_set():
            logger.error("RabbitMQ closed the channel of queue %s: %s", self._queue.name, error)
            self._inbox.later(REOPEN_PAUSE_S, functools.partial(self._reopen, self._connection))

    def _reopen(self, connection: Any) -> None:
        if self._connection is connection and connection.is_open:  # else a new one has its channel
            self._connection = None
            self.open(connection)

    def _bury(
        self, channel: Any, method: Any, properties: Any, body: bytes, error: EnvelopeError
    ) -> None:
        """Store what cannot be read as dead; what cannot be stored goes to the dead queue."""
        logger.error("unreadable message on %s: %s", self._queue.name, error)
        verb: Verb = "ack"
        try:
            with db.transaction() as conn:
                dead.bury(
                    conn,
                    message_id=properties.message_id or unnamed(body),
                    hop=0,
                    attempt=0,
                    queue=self._queue.name,
                    actor=None,
                    body=body,
                    reason=str(error),
                    error=error,
                )
        except Exception:
            logger.exception("it could not be stored as dead and goes to %s", self._queue.dead)
            verb = "reject"
        self._inbox.settle(channel, method.delivery_tag, verb)


def unnamed(body: bytes) -> str:
    """Name a message that has no id by what it holds, so that a copy of it is the same one."""
    return f"sha256:{hashlib.sha256(body).hexdigest()}"
