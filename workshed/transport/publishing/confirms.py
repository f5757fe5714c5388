"""What a sender passes to the publisher, and waits for."""

import time
from dataclasses import field

from workshed.metrics import meters
from workshed.transport.amqp.codec import MessageProperties
from workshed.transport.errors import BrokerError
from workshed.transport.latch import Latch
from workshed.value_class import state_class


@state_class
class PendingPublish:
    """One message on its way to RabbitMQ."""

    queue: str
    body: bytes
    properties: MessageProperties
    batch: "ConfirmBatch"
    maybe_delivered: bool = False
    """Sent on a connection that was lost before the confirm: a copy may have arrived."""
    return_reason: str | None = None
    is_done: bool = False
    error: BrokerError | None = None


@state_class
class ConfirmBatch:
    """Publications whose confirms a sender waits for together."""

    publications: list[PendingPublish] = field(default_factory=list)
    is_withdrawn: bool = False
    submitted_at: float = 0.0
    """When it was handed to the publisher, by `time.monotonic`."""
    all_confirmed: Latch = field(default_factory=Latch)
    """Opened in the I/O thread when every publication is done."""
    _outstanding: int = 0

    def add(
        self,
        queue: str,
        body: bytes,
        stamp: MessageProperties,
        *,
        unknown: bool = False,
    ) -> PendingPublish:
        """Add one message; only before the batch is submitted."""
        publication = PendingPublish(queue, body, stamp, self, unknown)
        self.publications.append(publication)
        self._outstanding += 1
        return publication

    def record_answer(self, publication: PendingPublish, error: BrokerError | None) -> None:
        """Note the first answer to one of the messages; only in the I/O thread."""
        if publication.is_done:  # a confirm that came after its sender gave up
            return
        publication.is_done, publication.error = True, error
        self._outstanding -= 1
        if self._outstanding == 0:
            if not self.is_withdrawn:
                meters.PUBLISH.observe(time.monotonic() - self.submitted_at)
            self.all_confirmed.open()
