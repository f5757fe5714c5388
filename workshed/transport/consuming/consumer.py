"""Receive deliveries, and settle each on the channel through which it came."""

import contextlib
import functools
import logging
import queue as queues
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable
from typing import Any

from dramatiq.broker import Consumer, MessageProxy

from workshed.metrics import meters
from workshed.queues import Queue
from workshed.transport.amqp.acks import AckingChannel, Verb
from workshed.transport.amqp.codec import RawDelivery
from workshed.transport.amqp.connection import ReconnectingConnection
from workshed.transport.amqp.fast_connection import FastConnection
from workshed.transport.amqp.replies import is_queue_missing
from workshed.transport.consuming import consumer_tag
from workshed.transport.consuming.delivery import Delivery, read_published
from workshed.transport.consuming.holding import QueueWatermarks
from workshed.transport.consuming.quarantine import Quarantine, dead_letter_unreadable
from workshed.transport.errors import EnvelopeError
from workshed.transport.messages.signing import Signing, verify_and_decode

logger = logging.getLogger(__name__)

REOPEN_PAUSE_S = 1.0
FLUSH_S = 0.001
"""Pause between two flushes of acks, so that one wake-up of the I/O thread serves many acks."""

Start = Callable[[list[Delivery]], None]
"""Queues deliveries for the threads that run them."""
Missing = Callable[[str], None]
"""Takes the name of a missing queue, and recreates it if the account may."""
Strange = Callable[[Delivery], Callable[[], None] | None]
"""Returns the step that stores a delivery whose actor or option is unknown here; else `None`."""


class ConsumerConnection:
    """The consuming side of a process: one connection, a channel per queue."""

    def __init__(self, urls: list[str], name: str, signing: Signing | None = None) -> None:
        """Open nothing until the first queue is consumed; `signing` checks all deliveries."""
        self.signing = signing
        self.stopping = threading.Event()
        self._urls, self._name = urls, name
        self.link = ReconnectingConnection(urls, name, self._on_open, lambda: None)
        self.started = False
        self._closed = False
        self.holding = QueueWatermarks()
        self._lock = threading.Lock()
        self._consumers: list[QueueConsumer] = []
        self._connection: FastConnection | None = None
        self._settled: deque[tuple[AckingChannel, int, Verb]] = deque()
        self._flushing = False
        self._timed = False
        self._many = 1
        self._paused: frozenset[str] = frozenset()

    def begin(self) -> None:
        """Prepare for another worker in this process, after the previous one has stopped.

        Jobs of the previous one that still run keep their own flag, which stays set.
        """
        if self.stopping.is_set():
            self.stopping = threading.Event()
            self._paused = frozenset()
        if self._closed:
            self.link = ReconnectingConnection(self._urls, self._name, self._on_open, lambda: None)
            self.started = self._closed = False
            self._consumers.clear()
            self._connection = None

    def consume(self, consumer: "QueueConsumer") -> None:
        """Open the consumer's channel, now and after each reconnect."""
        with self._lock:
            if not self.started:
                self.link.start()
                self.started = True
        self.link.call(lambda: self._add(consumer))

    @property
    def trouble(self) -> str | None:
        """Why no deliveries can arrive now; `None` if they can."""
        if not self.started or self.stopping.is_set():
            return None
        return None if self.link.is_open else "RabbitMQ is not connected"

    def consumes(self, names: set[str]) -> bool:
        """Return whether RabbitMQ has answered for each of these queues: it delivers, or cannot."""
        answered = {one.queue.name for one in list(self._consumers) if one.is_answered}
        return names <= answered

    def settle(self, channel: AckingChannel, tag: int, verb: Verb) -> None:
        """Settle a delivery soon; does nothing on a dead channel, where RabbitMQ requeued it."""
        if verb == "requeue":
            meters.GIVEN_BACK.add()
        elif verb == "reject":
            meters.DEAD_QUEUE.add()
        self._settled.append((channel, tag, verb))
        # The coming flush includes it. Flush early if RabbitMQ might stop at the prefetch limit.
        if not self._flushing or len(self._settled) >= self._many:
            self.link.call(self._flush)

    def give(self, delivery: Delivery, verb: Verb) -> None:
        """Settle a delivery that no thread of dramatiq will settle."""
        if verb == "requeue":
            self.holding.returned(delivery.queue_name, delivery.job.published)
        self.settle(delivery.channel, delivery.tag, verb)

    def drop(self, consumer: "QueueConsumer") -> None:
        """Close a consumer's channel, and do not open it again."""
        self.link.call(lambda: self._remove(consumer))

    def pause(self, names: frozenset[str]) -> None:
        """Stop consuming these queues, and consume all others."""
        if names != self._paused:
            self._paused = names
            if self.started:
                self.link.call(self._follow_pauses)

    def is_paused(self, name: str) -> bool:
        """Return whether a queue must not be consumed now."""
        return name in self._paused or self.stopping.is_set()

    def stop_consuming(self, within_s: float) -> None:
        """Stop new deliveries; running jobs can still be settled."""
        self.stopping.set()
        if self.started:
            stopped = threading.Event()
            self.link.call(lambda: self._cancel_all(stopped))
            stopped.wait(within_s)

    def flush(self, within_s: float) -> None:
        """Write all pending acks to the socket."""
        if self.started:
            flushed = threading.Event()
            self.link.call(self._flush)
            self.link.call(flushed.set)
            flushed.wait(within_s)

    def close(self) -> None:
        """Send the last acks and close the connection."""
        self.stopping.set()
        self._closed = self.started
        if self.started:
            self.link.call(self._flush)
            self.link.close()

    def later(self, delay_s: float, what: Callable[[], None]) -> None:
        """Run `what` in the I/O thread after a delay."""
        self.link.later(delay_s, what)

    def _on_open(self, connection: FastConnection) -> None:
        self._connection = connection
        connection.after_read = self._hand_on
        self._flush_in_time()  # a timer of a failed loop is lost
        for consumer in self._consumers:
            consumer.open(connection)

    def _hand_on(self) -> None:
        for consumer in self._consumers:
            consumer.hand_on()

    def _add(self, consumer: "QueueConsumer") -> None:
        self._consumers.append(consumer)
        self._many = max(1, min(one.prefetch for one in self._consumers) // 2)
        if self._connection is not None and self._connection.is_open:
            consumer.open(self._connection)

    def _remove(self, consumer: "QueueConsumer") -> None:
        if consumer in self._consumers:
            self._consumers.remove(consumer)
        consumer.shut()

    def _follow_pauses(self) -> None:
        for consumer in self._consumers:
            if self.is_paused(consumer.queue.name):
                consumer.cancel()
            else:
                consumer.resume()

    def _cancel_all(self, stopped: threading.Event) -> None:
        for consumer in self._consumers:
            consumer.cancel()
        stopped.set()

    def _flush(self) -> None:
        self._flushing = False  # before the check, so that later additions ask for their own flush
        if self._settled:
            self._flush_now()
            self._flushing = True
            if not self._timed:  # an early flush leaves the timer running
                self._timed = True
                self.later(FLUSH_S, self._flush_in_time)

    def _flush_in_time(self) -> None:
        self._timed = False
        self._flush()

    def _flush_now(self) -> None:
        batches: dict[AckingChannel, list[tuple[int, Verb]]] = defaultdict(list)
        while self._settled:
            channel, tag, verb = self._settled.popleft()
            if channel.is_open:
                batches[channel].append((tag, verb))
            else:
                logger.info("dropped %s for a lost channel; the job is delivered again", verb)
        if batches and self._connection is not None:
            with self._connection.together():
                for channel, batch in batches.items():
                    channel.settle(batch)


class QueueConsumer(Consumer):
    """The consumer that dramatiq's consumer thread of one queue iterates over.

    Deliveries do not pass through that thread: the I/O thread queues them for the worker threads,
    which saves two thread switches per job. The consumer thread only stores deliveries that cannot
    run. Reconnects raise no error in it, because dramatiq would create a second consumer.
    """

    def __init__(
        self,
        inbox: ConsumerConnection,
        queue: Queue,
        prefetch: int,
        timeout_s: float,
        start: Start,
        strange: Strange,
        missing: Missing,
        actors: Collection[tuple[str, str | None]] = (),
    ) -> None:
        """Consume nothing until dramatiq iterates, because then it can settle the deliveries."""
        self.queue = queue
        self.prefetch = prefetch
        self.is_answered = False
        """Whether RabbitMQ delivers from this queue, or cannot, or the queue is paused."""
        self._inbox = inbox
        self._timeout_s = timeout_s
        self._start = start
        self._strange = strange
        self._missing = missing
        self._actors = actors
        self._misfits = Quarantine(queue, inbox.settle)
        self._odd: queues.SimpleQueue[tuple[AckingChannel, int, Callable[[], None]]]
        self._odd = queues.SimpleQueue()
        self._channel: Any = None
        self._acks: AckingChannel
        self._tag: str | None = None
        self._tags: list[bytes] = []
        self._came: list[Delivery] = []
        self._wire: Any = None
        self._dropped = False

    def __iter__(self) -> "QueueConsumer":
        """Start consuming."""
        self._inbox.consume(self)
        return self

    def __next__(self) -> None:
        """Store deliveries that no actor here can run; returns after at most the timeout."""
        self._misfits.put_away()
        with contextlib.suppress(queues.Empty):
            self._misfits.add(*self._odd.get(timeout=self._timeout_s))

    def ack(self, message: MessageProxy) -> None:
        """Settle a job whose outcome is stored."""
        self._settle(message, "ack")

    def nack(self, message: MessageProxy) -> None:
        """Send a job whose outcome cannot be stored to the dead queue."""
        self._settle(message, "reject")

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Requeue deliveries that were not started."""
        for message in messages:
            self._settle(message, "requeue")

    def close(self) -> None:
        """Stop consuming; RabbitMQ requeues unsettled deliveries."""
        self._inbox.drop(self)

    def open(self, connection: FastConnection) -> None:
        """Open a channel once per connection; in the I/O thread."""
        if self._wire is connection or self._inbox.stopping.is_set():
            return
        self._wire = connection
        connection.channel(on_open_callback=self._on_channel)

    def hand_on(self) -> None:
        """Queue the deliveries of one read for the worker threads; in the I/O thread."""
        if self._came:
            came, self._came = self._came, []
            self._start(came)

    def cancel(self) -> None:
        """Stop deliveries on this channel; in the I/O thread."""
        tag, self._tag = self._tag, None
        if self._channel is not None and self._channel.is_open and tag is not None:
            self._channel.basic_cancel(tag)
        with contextlib.suppress(queues.Empty):
            while True:
                channel, number, _ = self._odd.get_nowait()
                self._inbox.settle(channel, number, "requeue")

    def resume(self) -> None:
        """Resume deliveries; in the I/O thread."""
        if self._channel is not None and self._channel.is_open and self._tag is None:
            take = functools.partial(self._on_delivery, self._acks)
            self._tag = self._channel.basic_consume(
                self.queue.on_rabbitmq,
                lambda _, method, properties, body: take(
                    RawDelivery(method.delivery_tag, method.redelivered, properties, body)
                ),
                consumer_tag=consumer_tag.make_tag(self._actors),
                callback=lambda _: self._answer(),
            )
            self._tags.append(self._tag.encode())
            self._wire.takers[self._tags[-1]] = take

    def shut(self) -> None:
        """Close the channel for good; in the I/O thread."""
        self._dropped = True
        if self._channel is not None and self._channel.is_open:
            self._channel.close()
        self._channel = None

    def _settle(self, message: MessageProxy, verb: Verb) -> None:
        if not isinstance(message, Delivery):
            raise TypeError(f"{message!r} did not come through this consumer")
        if not message.parked:
            self._inbox.give(message, "requeue" if message.held else verb)

    def _on_channel(self, channel: Any) -> None:
        if self._dropped or self._inbox.stopping.is_set():
            channel.close()
            return
        self._channel, self._tag = channel, None
        self._acks = AckingChannel(channel)
        channel.add_on_close_callback(self._on_closed)
        channel.add_on_cancel_callback(lambda _: channel.close())  # its queue was deleted
        channel.basic_qos(prefetch_count=self.prefetch)
        if self._inbox.is_paused(self.queue.name):
            self._answer()
        else:
            self.resume()

    def _answer(self) -> None:
        self.is_answered = True

    def _on_delivery(self, channel: AckingChannel, letter: RawDelivery) -> None:
        properties = letter.properties
        if self._tag is None:  # it was on its way when the consumer was cancelled
            self._inbox.holding.returned(self.queue.name, read_published(properties.headers or {}))
            self._inbox.settle(channel, letter.tag, "requeue")
            return
        if not channel.is_open:
            return  # RabbitMQ has requeued it
        try:
            message = verify_and_decode(
                self._inbox.signing, self.queue.name, properties.headers, letter.body
            )
        except EnvelopeError as err:
            step = functools.partial(
                dead_letter_unreadable, self.queue, properties.message_id, letter.body, err
            )
            self._odd.put((channel, letter.tag, step))
            return
        delivery = Delivery(message, self.queue, channel, letter)
        self._inbox.holding.got(delivery, lowest=not properties.priority)
        strange = self._strange(delivery)
        if strange is None:
            self._came.append(delivery)
        else:
            self._odd.put((channel, letter.tag, strange))

    def _on_closed(self, channel: Any, error: Exception) -> None:
        if not self._inbox.stopping.is_set():  # a stopping worker has requeued or settles each
            self._inbox.holding.lost(self.queue.name)
        if channel is not self._channel:
            return
        self._channel = None
        self._answer()
        while self._tags:
            self._wire.takers.pop(self._tags.pop(), None)
        if self._wire.is_open and not self._inbox.stopping.is_set():
            logger.error(
                "RabbitMQ closed the channel of queue %s: %s", self.queue.on_rabbitmq, error
            )
            if is_queue_missing(error):
                self._missing(self.queue.name)
            self._inbox.later(REOPEN_PAUSE_S, functools.partial(self._reopen, self._wire))

    def _reopen(self, connection: Any) -> None:
        if self._wire is connection and connection.is_open:  # else a new one opens its channel
            self._wire = None
            self.open(connection)
