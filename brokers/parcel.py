"""A message while it is being sent."""

from dataclasses import dataclass
from typing import Any

import dramatiq

from brokers.errors import PublishRefusedError
from brokers.publisher import Publication, Ticket
from brokers.queues import Queue
from workshed.jobs import schedule
from workshed.jobs.leases import Key
from workshed.jobs.schedule import Reason

Message = dramatiq.Message[Any]


@dataclass(slots=True, eq=False)
class Parcel:
    """One message, and what has become of it so far."""

    message: Message
    queue: Queue
    body: bytes = b""
    """Its JSON, while it is in flight."""
    publication: Publication | None = None
    leased: bool = False
    """It has a row, which a relay sends if this sender dies."""
    unknown: bool = False
    """A copy of it may have arrived."""
    holder: str | None = None
    """Another message, which has its unique key: this one is neither stored nor sent."""
    error: Exception | None = None
    """Why it is not safe, so far."""

    @property
    def result(self) -> Message:
        """What its sender gets: the message, or one with the id of the job that has its key."""
        if self.holder is None:
            return self.message
        return self.message.copy(message_id=self.holder)

    @property
    def key(self) -> Key:
        """What its row is found by."""
        return self.message.message_id, int(self.message.options.get("hop", 0))

    @property
    def unique_key(self) -> str | None:
        """The key of which no other job may be alive."""
        return self.message.options.get("unique_key")

    @property
    def needs_row(self) -> bool:
        """Tell whether it is stored before it is published.

        A classic queue confirms what it does not have on disk; a lock and its job must not be
        parted by a crash.
        """
        return self.queue.kind == "classic" or self.unique_key is not None

    def row(self, reason: Reason) -> schedule.Row:
        """Return it as a row of the schedule."""
        message_id, hop = self.key
        return schedule.Row(
            message_id=message_id,
            hop=hop,
            queue=self.queue.name,
            actor=self.message.actor_name,
            body=self.body.decode(),
            reason=reason,
            again=self.unknown,
        )


def packed(message: Message, queue: Queue) -> Parcel:
    """Encode a message; one that cannot be has its error."""
    parcel = Parcel(message, queue)
    try:
        parcel.body = message.encode()
    except Exception as err:  # noqa: BLE001 -- of whatever encoder is set
        parcel.error = PublishRefusedError(f"{message.actor_name}: {err!r}")
    return parcel


@dataclass(slots=True, eq=False)
class Flight:
    """Messages that are sent side by side."""

    parcels: list[Parcel]
    deadline: float
    """When RabbitMQ is to have confirmed them, by `time.monotonic`."""
    ticket: Ticket | None = None
    abandoned: bool = False
    """Its sender was interrupted."""

    @property
    def good(self) -> list[Parcel]:
        """Those that nothing stands in the way of."""
        return [p for p in self.parcels if p.error is None and p.holder is None]
