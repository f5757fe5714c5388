"""A message as a worker received it, with what is needed to settle it."""

import time
from collections.abc import Mapping
from typing import Any, Protocol

import dramatiq
from dramatiq.broker import MessageProxy

from workshed.middleware import Job
from workshed.queues import Queue
from workshed.transport.amqp.acks import AckingChannel
from workshed.transport.amqp.codec import RawDelivery
from workshed.transport.messages.envelope import LATEST_MS

SETTLE_BEFORE = 0.75
"""Share of the consumer timeout after which a delivery that could not be settled is requeued."""
START_BEFORE = 0.25
"""Share of the consumer timeout after which a delivery that has not started is requeued."""


class DeliveryChannel(Protocol):
    """The channel of deliveries; once closed, it never opens again."""

    @property
    def is_open(self) -> bool:
        """Whether its deliveries can still be settled."""


class Delivery(MessageProxy):
    """A message as dramatiq's worker gets it; its tag is valid only on its own channel."""

    def __init__(self, job: Job, channel: DeliveryChannel, tag: int, timeout_s: float) -> None:
        """Keep what an ack needs; `timeout_s`: how long this process may have it."""
        super().__init__(job.message)
        self.__dict__ |= job.message.__dict__  # spares dramatiq's `__getattr__` on each access
        self.job = job
        self.channel = channel
        self.tag = tag
        self.timeout_s = timeout_s
        self.received_at = time.monotonic()
        self.requeue_on_settle = False
        """Its outcome could not be stored, or it was not started: it will be requeued."""
        self.settles_later = False
        """It is settled later, by another thread than the one that has it now."""
        self.started_at = 0.0
        """When its actor started, by `time.monotonic`."""
        self.is_running = False
        """Its actor is running, and has no outcome yet."""

    @property
    def can_be_settled(self) -> bool:
        """Whether this process can still settle it."""
        return self.channel.is_open and not self._is_older_than(SETTLE_BEFORE)

    @property
    def has_waited_too_long(self) -> bool:
        """Whether to requeue it, so that another process may start it."""
        return self._is_older_than(START_BEFORE)

    def _is_older_than(self, share: float) -> bool:
        return time.monotonic() - self.received_at > self.timeout_s * share


def receive_letter(
    message: dramatiq.Message[Any], queue: Queue, channel: AckingChannel, letter: RawDelivery
) -> Delivery:
    """Return the delivery of a message that RabbitMQ sent."""
    headers = letter.properties.headers or {}
    redelivered = bool(letter.redelivered or headers.get("possible_duplicate"))
    job = Job(
        message,
        may_be_duplicate=redelivered or bool(headers.get("outbox")),
        redelivered=redelivered,
        published_s=read_publish_time(headers),
    )
    return Delivery(job, channel, letter.tag, queue.consumer_timeout.total_seconds())


def read_publish_time(headers: Mapping[str, Any]) -> float | None:
    """Return when a message was published, in Unix s; `None` for messages of other programs."""
    milliseconds = headers.get("published_ms")
    if not isinstance(milliseconds, int) or not 0 <= milliseconds <= LATEST_MS:
        return None
    return milliseconds / 1000
