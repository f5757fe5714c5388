"""Receive deliveries, and settle each on the channel through which it came."""

import functools
import logging
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Collection
from typing import Any
from uuid import UUID

from workshed.metrics import meters
from workshed.queues import Queue
from workshed.transport.amqp.acks import AckingChannel, Settlement
from workshed.transport.amqp.codec import RawDelivery
from workshed.transport.amqp.connection import ReconnectingConnection
from workshed.transport.amqp.fast_connection import FastConnection
from workshed.transport.amqp.replies import is_queue_missing
from workshed.transport.consuming import consumer_tag
from workshed.transport.consuming.delivery import Delivery, read_publish_time, receive_letter
from workshed.transport.consuming.inbox import WatchedLoop
from workshed.transport.consuming.quarantine import dead_letter_unreadable
from workshed.transport.consuming.settling_consumer import SettlingConsumer
from workshed.transport.consuming.watermarks import QueueWatermarks
from workshed.transport.errors import EnvelopeError
from workshed.transport.messages.signing import Signing, verify_and_decode

logger = logging.getLogger(__name__)

REOPEN_PAUSE_S = 1.0
FLUSH_S = 0.005
"""Pause between two flushes of acks, so that one wake-up of the I/O thread serves many acks.

With jobs that wait for 5 ms each, a pause of 1 ms served one or two. A pause delays no job, as acks
are also flushed when half of the prefetch waits for it.
"""

OnDeliveries = Callable[[list[Delivery]], None]
"""Queues deliveries for the threads that run them."""
OnQueueMissing = Callable[[str], None]
"""Takes the name of a missing queue, and recreates it if the account may."""
FindUnrunnable = Callable[[Delivery], Callable[[], bool] | None]
"""Returns the step of `Quarantine` for a delivery whose actor or option is unknown here."""


class ConsumerConnection:
    """The consuming side of a process: one connection, a channel per queue."""

    def __init__(self, urls: list[str], name: str, signing: Signing | None = None) -> None:
        """Open nothing until the first queue is consumed; `signing` checks all deliveries."""
        self.signing = signing
        self.stopping = threading.Event()
        self._urls, self._name = urls, name
        self.link = ReconnectingConnection(urls, name, self._on_open, lambda: None)
        self.is_started = False
        self._closed = False
        self.watermarks = QueueWatermarks()
        self._lock = threading.Lock()
        self._consumers: list[QueueConsumer] = []
        self._connection: FastConnection | None = None
        self._pending_settlements: deque[tuple[AckingChannel, int, Settlement]] = deque()
        self._flushing = False
        self._has_flush_timer = False
        self._early_flush_size = 1
        self._paused_queues: frozenset[str] = frozenset()

    def reset(self) -> None:
        """Prepare for another worker in this process, after the previous one has stopped.

        Jobs of the previous one that still run keep their own flag, which stays set.
        """
        if self.stopping.is_set():
            self.stopping = threading.Event()
            self._paused_queues = frozenset()
        if self._closed:
            self.link = ReconnectingConnection(self._urls, self._name, self._on_open, lambda: None)
            self.is_started = self._closed = False
            self._consumers.clear()
            self._connection = None

    def consume(self, consumer: "QueueConsumer") -> None:
        """Open the consumer's channel, now and after each reconnect."""
        with self._lock:
            if not self.is_started:
                self.link.start()
                self.is_started = True
        self.link.call_soon(lambda: self._add(consumer))

    @property
    def problem(self) -> str | None:
        """Why no deliveries can arrive now; `None` if they can."""
        if not self.is_started or self.stopping.is_set():
            return None
        return None if self.link.is_open else "RabbitMQ is not connected"

    @property
    def loops(self) -> list[WatchedLoop]:
        """The I/O loop of the connection."""
        return [self.link]

    def is_consuming(self, names: set[str]) -> bool:
        """Return whether RabbitMQ has answered for each of these queues: it delivers, or cannot."""
        answered = {one.queue.name for one in list(self._consumers) if one.is_answered}
        return names <= answered

    def settle(self, channel: AckingChannel, tag: int, verb: Settlement) -> None:
        """Settle a delivery soon; does nothing on a dead channel, where RabbitMQ requeued it."""
        if verb == "requeue":
            meters.DELIVERIES_REQUEUED.add()
        elif verb == "reject":
            meters.DELIVERIES_DEAD_LETTERED.add()
        self._pending_settlements.append((channel, tag, verb))
        # The coming flush includes it. Flush early if RabbitMQ might stop at the prefetch limit.
        if not self._flushing or len(self._pending_settlements) >= self._early_flush_size:
            self.link.call_soon(self._flush)

    def settle_delivery(self, delivery: Delivery, verb: Settlement) -> None:
        """Settle a delivery that no thread of dramatiq will settle."""
        if verb == "requeue":
            self.watermarks.record_requeued(delivery.queue_name, delivery.job.published_s)
        channel: Any = delivery.channel
        self.settle(channel, delivery.tag, verb)

    def remove(self, consumer: "QueueConsumer") -> None:
        """Close a consumer's channel, and do not open it again."""
        self.link.call_soon(lambda: self._remove(consumer))

    def pause(self, names: frozenset[str]) -> None:
        """Stop consuming these queues, and consume all others."""
        if names != self._paused_queues:
            self._paused_queues = names
            if self.is_started:
                self.link.call_soon(self._apply_pauses)

    def is_paused(self, name: str) -> bool:
        """Return whether a queue must not be consumed now."""
        return name in self._paused_queues or self.stopping.is_set()

    def record_heartbeat(self, worker: UUID, sent_at: float) -> None:
        """Do nothing: RabbitMQ learns from the connection that this process is alive."""

    def stop_consuming(self, within_s: float) -> None:
        """Stop new deliveries; running jobs can still be settled."""
        self.stopping.set()
        if self.is_started:
            stopped = threading.Event()
            self.link.call_soon(lambda: self._cancel_all(stopped))
            stopped.wait(within_s)

    def flush(self, within_s: float) -> None:
        """Write all pending acks to the socket."""
        if self.is_started:
            flushed = threading.Event()
            self.link.call_soon(self._flush)
            self.link.call_soon(flushed.set)
            flushed.wait(within_s)

    def close(self) -> None:
        """Send the last acks and close the connection."""
        self.stopping.set()
        self._closed = self.is_started
        if self.is_started:
            self.link.call_soon(self._flush)
            self.link.close()

    def call_later(self, delay_s: float, what: Callable[[], None]) -> None:
        """Run `what` in the I/O thread after a delay."""
        self.link.call_later(delay_s, what)

    def _on_open(self, connection: FastConnection) -> None:
        self._connection = connection
        connection.after_read = self._dispatch_received
        self._flush_on_timer()  # a timer of a failed loop is lost
        for consumer in self._consumers:
            consumer.open(connection)

    def _dispatch_received(self) -> None:
        for consumer in self._consumers:
            consumer.dispatch_received()

    def _add(self, consumer: "QueueConsumer") -> None:
        self._consumers.append(consumer)
        self._early_flush_size = max(1, min(one.prefetch for one in self._consumers) // 2)
        if self._connection is not None and self._connection.is_open:
            consumer.open(self._connection)

    def _remove(self, consumer: "QueueConsumer") -> None:
        if consumer in self._consumers:
            self._consumers.remove(consumer)
        consumer.close_channel()

    def _apply_pauses(self) -> None:
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
        if self._pending_settlements:
            self._flush_now()
            self._flushing = True
            if not self._has_flush_timer:  # an early flush leaves the timer running
                self._has_flush_timer = True
                self.call_later(FLUSH_S, self._flush_on_timer)

    def _flush_on_timer(self) -> None:
        self._has_flush_timer = False
        self._flush()

    def _flush_now(self) -> None:
        batches: dict[AckingChannel, list[tuple[int, Settlement]]] = defaultdict(list)
        while self._pending_settlements:
            channel, tag, verb = self._pending_settlements.popleft()
            if channel.is_open:
                batches[channel].append((tag, verb))
            else:
                logger.info("dropped %s for a lost channel; the job is delivered again", verb)
        if batches and self._connection is not None:
            with self._connection.batched_writes():
                for channel, batch in batches.items():
                    channel.settle(batch)


class QueueConsumer(SettlingConsumer):
    """Consumes a queue of RabbitMQ; the I/O thread queues the deliveries for the worker threads.

    Reconnects raise no error in the consumer thread, because dramatiq would create a second
    consumer.
    """

    def __init__(
        self,
        inbox: ConsumerConnection,
        queue: Queue,
        prefetch: int,
        timeout_s: float,
        start: OnDeliveries,
        strange: FindUnrunnable,
        missing: OnQueueMissing,
        actors: Collection[tuple[str, str | None]] = (),
    ) -> None:
        """Consume nothing until dramatiq iterates, because then it can settle the deliveries."""
        super().__init__(inbox, queue, timeout_s, inbox.settle)
        self.prefetch = prefetch
        self.is_answered = False
        """Whether RabbitMQ delivers from this queue, or cannot, or the queue is paused."""
        self._consumer_connection = inbox
        self._on_deliveries = start
        self._find_unrunnable = strange
        self._on_queue_missing = missing
        self._actors = actors
        self._channel: Any = None
        self._acking_channel: AckingChannel
        self._tag: str | None = None
        self._tags: list[bytes] = []
        self._received: list[Delivery] = []
        self._connection: Any = None
        self._is_removed = False

    def __iter__(self) -> "QueueConsumer":
        """Start consuming."""
        self._consumer_connection.consume(self)
        return self

    def close(self) -> None:
        """Stop consuming; RabbitMQ requeues unsettled deliveries."""
        self._consumer_connection.remove(self)

    def open(self, connection: FastConnection) -> None:
        """Open a channel once per connection; in the I/O thread."""
        if self._connection is connection or self._consumer_connection.stopping.is_set():
            return
        self._connection = connection
        connection.channel(on_open_callback=self._on_channel)

    def dispatch_received(self) -> None:
        """Queue the deliveries of one read for the worker threads; in the I/O thread."""
        if self._received:
            came, self._received = self._received, []
            self._on_deliveries(came)

    def cancel(self) -> None:
        """Stop deliveries on this channel; in the I/O thread."""
        tag, self._tag = self._tag, None
        if self._channel is not None and self._channel.is_open and tag is not None:
            self._channel.basic_cancel(tag)
        for quarantined in self._take_quarantined():
            channel: Any = quarantined[0]
            self._consumer_connection.settle(channel, quarantined[1], "requeue")

    def resume(self) -> None:
        """Resume deliveries; in the I/O thread."""
        if self._channel is not None and self._channel.is_open and self._tag is None:
            take = functools.partial(self._on_delivery, self._acking_channel)
            self._tag = self._channel.basic_consume(
                self.queue.rabbitmq_name,
                lambda _, method, properties, body: take(
                    RawDelivery(method.delivery_tag, method.redelivered, properties, body)
                ),
                consumer_tag=consumer_tag.make_tag(self._actors),
                callback=lambda _: self._mark_answered(),
            )
            self._tags.append(self._tag.encode())
            self._connection.delivery_handlers[self._tags[-1]] = take

    def close_channel(self) -> None:
        """Close the channel for good; in the I/O thread."""
        self._is_removed = True
        if self._channel is not None and self._channel.is_open:
            self._channel.close()
        self._channel = None

    def _on_channel(self, channel: Any) -> None:
        if self._is_removed or self._consumer_connection.stopping.is_set():
            channel.close()
            return
        self._channel, self._tag = channel, None
        self._acking_channel = AckingChannel(channel)
        channel.add_on_close_callback(self._on_closed)
        channel.add_on_cancel_callback(lambda _: channel.close())  # its queue was deleted
        channel.basic_qos(prefetch_count=self.prefetch)
        if self._consumer_connection.is_paused(self.queue.name):
            self._mark_answered()
        else:
            self.resume()

    def _mark_answered(self) -> None:
        self.is_answered = True

    def _on_delivery(self, channel: AckingChannel, letter: RawDelivery) -> None:
        properties = letter.properties
        if self._tag is None:  # it was on its way when the consumer was cancelled
            self._consumer_connection.watermarks.record_requeued(
                self.queue.name, read_publish_time(properties.headers or {})
            )
            self._consumer_connection.settle(channel, letter.tag, "requeue")
            return
        if not channel.is_open:
            return  # RabbitMQ has requeued it
        try:
            message = verify_and_decode(
                self._consumer_connection.signing, self.queue.name, properties.headers, letter.body
            )
        except EnvelopeError as err:
            step = functools.partial(
                dead_letter_unreadable, self.queue, properties.message_id, letter.body, err
            )
            self._quarantine_queue.put((channel, letter.tag, step))
            return
        delivery = receive_letter(message, self.queue, channel, letter)
        self._consumer_connection.watermarks.record_received(
            delivery, lowest=not properties.priority
        )
        strange = self._find_unrunnable(delivery)
        if strange is None:
            self._received.append(delivery)
        else:
            self._quarantine_queue.put((channel, letter.tag, strange))

    def _on_closed(self, channel: Any, error: Exception) -> None:
        if (
            not self._consumer_connection.stopping.is_set()
        ):  # a stopping worker has requeued or settles each
            self._consumer_connection.watermarks.record_all_requeued(self.queue.name)
        if channel is not self._channel:
            return
        self._channel = None
        self._mark_answered()
        while self._tags:
            self._connection.delivery_handlers.pop(self._tags.pop(), None)
        if self._connection.is_open and not self._consumer_connection.stopping.is_set():
            logger.error(
                "RabbitMQ closed the channel of queue %s: %s", self.queue.rabbitmq_name, error
            )
            if is_queue_missing(error):
                self._on_queue_missing(self.queue.name)
            self._consumer_connection.call_later(
                REOPEN_PAUSE_S, functools.partial(self._reopen, self._connection)
            )

    def _reopen(self, connection: Any) -> None:
        if (
            self._connection is connection and connection.is_open
        ):  # else a new one opens its channel
            self._connection = None
            self.open(connection)
