"""What a sender passes to the publisher, and waits for."""

import time
from dataclasses import dataclass, field

from workshed.metrics import meters
from workshed.transport.amqp.codec import MessageProperties
from workshed.transport.errors import BrokerError
from workshed.transport.latch import Latch


@dataclass(slots=True, eq=False)
class PendingPublish:
    """One message on its way to RabbitMQ."""

    queue: str
    body: bytes
    stamp: MessageProperties
    ticket: "ConfirmBatch"
    unknown: bool = False
    """Sent on a connection that was lost before the confirm: a copy may have arrived."""
    returned: str | None = None
    done: bool = False
    error: BrokerError | None = None


@dataclass(slots=True, eq=False)
class ConfirmBatch:
    """Publications whose confirms a sender waits for together."""

    publications: list[PendingPublish] = field(default_factory=list)
    withdrawn: bool = False
    submitted: float = 0.0
    """When it was handed to the publisher, by `time.monotonic`."""
    settled: Latch = field(default_factory=Latch)
    """Opened in the I/O thread when every publication is done."""
    _left: int = 0

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
        self._left += 1
        return publication

    def settle(self, publication: PendingPublish, error: BrokerError | None) -> None:
        """Note the first answer to one of the messages; only in the I/O thread."""
        if publication.done:  # a confirm that came after its sender gave up
            return
        publication.done, publication.error = True, error
        self._left -= 1
        if self._left == 0:
            if not self.withdrawn:
                meters.PUBLISH.observe(time.monotonic() - self.submitted)
            self.settled.open()
