"""A message while it is being sent."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import dramatiq
import orjson

from workshed.errors import DuplicateJobError
from workshed.jobs.locks.unique import KeyClaim
from workshed.jobs.outbox import schedule
from workshed.jobs.outbox.leases import Key
from workshed.jobs.outbox.schedule import Reason
from workshed.metrics.meters import How
from workshed.queues import Queue
from workshed.transport.errors import PublishRefusedError
from workshed.transport.messages.envelope import encode
from workshed.transport.publishing.publisher import ConfirmBatch, PendingPublish

Message = dramatiq.Message[Any]


@dataclass(slots=True, eq=False)
class OutgoingMessage:
    """One message, and what has become of it so far."""

    message: Message
    queue: Queue
    body: bytes = b""
    """Its JSON, while it is in flight."""
    publication: PendingPublish | None = None
    leased: bool = False
    """It has a row, which a relay sends if this sender dies."""
    unknown: bool = False
    """A copy of it may have arrived."""
    holder: str | None = None
    """Another message, which has its unique key: this one is neither stored nor sent."""
    refusal: DuplicateJobError | None = None
    """Why it is not taken on, since it was to say so."""
    waits: bool = False
    """Another message has its unique key, for which this one waits in the schedule."""
    way: How = "published"
    """Where it is, once it is safe."""
    error: Exception | None = None
    """Why it is not safe, so far."""

    @property
    def goes(self) -> bool:
        """Tell whether no other job keeps it from being sent."""
        return self.holder is None and not self.waits

    @property
    def how(self) -> How:
        """What became of its send, in one word."""
        if self.holder is not None:
            return "duplicate"
        if self.error is not None:
            return "refused"
        return "scheduled" if self.waits else self.way

    @property
    def result(self) -> Message:
        """What its sender gets: the message, or one with the id of the job that has its key."""
        if self.holder is None:
            return self.message
        return self.message.copy(message_id=self.holder)

    @property
    def key(self) -> Key:
        """What its row is found by."""
        return self.message.message_id, int(self.message.options.get("generation", 0))

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

    def claim(self, delay: timedelta) -> KeyClaim | None:
        """Return the key it asks for, held for its span from when it is due."""
        return key_claim(self.message, delay)

    def conflicts_with(self, holder: str) -> None:
        """Note what follows when another message has its key."""
        self.holder, self.refusal, self.waits = None, None, False
        if holder == self.message.message_id:
            return
        match self.message.options.get("on_conflict"):
            case "reschedule":
                self.waits = True
            case "raise":
                self.holder = holder
                self.refusal = DuplicateJobError(str(self.unique_key), holder)
            case _:
                self.holder = holder

    def row(self, reason: Reason) -> schedule.OutboxRow:
        """Return it as a row of the schedule."""
        message_id, generation = self.key
        body = encode(awaiting_key(self.message)) if self.waits else self.body
        return schedule.OutboxRow(
            message_id=message_id,
            generation=generation,
            queue=self.queue.name,
            actor=self.message.actor_name,
            body=body.decode(),
            reason=reason,
            possible_duplicate=self.unknown,
        )


def key_claim(message: Message, delay: timedelta) -> KeyClaim | None:
    """Return the key a message asks for, held for its span from when it is due."""
    options = message.options
    key = options.get("unique_key")
    if key is None:
        return None
    span = options.get("unique_for")
    return KeyClaim(
        key=key,
        message_id=message.message_id,
        generation=int(options.get("generation", 0)),
        actor=message.actor_name,
        queue=message.queue_name,
        span=None if span is None else timedelta(milliseconds=span) + delay,
        replace=options.get("on_conflict") == "replace",
    )


def awaiting_key(message: Message) -> Message:
    """Return the message as it waits for a key that another has."""
    return message.copy(options={"awaiting_unique_key": True})


def waiting_body(message: Message) -> str | None:
    """Return its JSON while it waits for a key, where it is to wait for one."""
    waits = message.options.get("on_conflict") == "reschedule"
    return encode(awaiting_key(message)).decode() if waits else None


def encode_outgoing(message: Message, queue: Queue) -> OutgoingMessage:
    """Encode a message; one that cannot be has its error."""
    parcel = OutgoingMessage(message, queue)
    try:
        parcel.body = encode(message)
    except orjson.JSONEncodeError as err:
        parcel.error = PublishRefusedError(f"{message.actor_name}: {err!r}")
    return parcel


def metric_labels(parcel: OutgoingMessage) -> tuple[str, str, How]:
    """Return the actor and the queue of a parcel, and what became of it."""
    return parcel.message.actor_name, parcel.message.queue_name, parcel.how


@dataclass(slots=True, eq=False)
class PublishBatch:
    """Messages that are sent side by side."""

    parcels: list[OutgoingMessage]
    deadline: float
    """When RabbitMQ is to have confirmed them, by `time.monotonic`."""
    ticket: ConfirmBatch | None = None
    abandoned: bool = False
    """Its sender was interrupted."""

    @property
    def good(self) -> list[OutgoingMessage]:
        """Those that nothing stands in the way of."""
        return [p for p in self.parcels if p.error is None and p.goes]
