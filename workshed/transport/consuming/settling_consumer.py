"""What the consumers of all transports share: dramatiq's threads settle through them."""

import contextlib
import queue as queues
from collections.abc import Callable, Iterable
from typing import Any

from dramatiq.broker import Consumer, MessageProxy

from workshed.queues import Queue
from workshed.transport.amqp.acks import Settlement
from workshed.transport.consuming.delivery import Delivery, DeliveryChannel
from workshed.transport.consuming.inbox import Inbox
from workshed.transport.consuming.quarantine import Quarantine

QuarantinedDelivery = tuple[DeliveryChannel, int, Callable[[], bool]]
"""The channel and the tag of a delivery, and the step that stores it."""


class SettlingConsumer(Consumer):
    """The consumer that dramatiq's consumer thread of one queue iterates over.

    Deliveries do not pass through that thread: they are queued for the worker threads, which saves
    two thread switches per job. The consumer thread only stores deliveries that cannot run, and
    imports the actors of others.
    """

    def __init__(
        self,
        inbox: Inbox,
        queue: Queue,
        timeout_s: float,
        settle: Callable[[Any, int, Settlement], None],
    ) -> None:
        """Take how long `__next__` waits, and how quarantined deliveries are settled."""
        self.queue = queue
        self._inbox = inbox
        self._timeout_s = timeout_s
        self._quarantine = Quarantine(queue, settle)
        self._quarantine_queue: queues.SimpleQueue[QuarantinedDelivery] = queues.SimpleQueue()

    def __next__(self) -> None:
        """Store deliveries that no actor here can run; returns after at most the timeout."""
        self._quarantine.process()
        with contextlib.suppress(queues.Empty):
            self._quarantine.add(*self._quarantine_queue.get(timeout=self._timeout_s))

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

    def _settle(self, message: MessageProxy, verb: Settlement) -> None:
        if not isinstance(message, Delivery):
            raise TypeError(f"{message!r} did not come through this consumer")
        if not message.settles_later:
            self._inbox.settle_delivery(message, "requeue" if message.requeue_on_settle else verb)

    def _take_quarantined(self) -> list[QuarantinedDelivery]:
        """Return the deliveries that are still to be stored."""
        taken: list[QuarantinedDelivery] = []
        with contextlib.suppress(queues.Empty):
            while True:
                taken.append(self._quarantine_queue.get_nowait())
        return taken
