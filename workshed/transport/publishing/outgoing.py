"""A message while it is being sent."""

from datetime import timedelta
from typing import Any, Literal

import dramatiq
import orjson

from workshed.errors import DuplicateJobError
from workshed.jobs.locks.unique import KeyClaim
from workshed.jobs.outbox import schedule
from workshed.jobs.outbox.leases import Key
from workshed.jobs.outbox.schedule import Reason
from workshed.metrics.meters import SendResult
from workshed.queues import Queue
from workshed.transport.errors import PublishRefusedError
from workshed.transport.messages.envelope import encode_message, message_properties
from workshed.transport.publishing.publisher import ConfirmBatch, PendingPublish
from workshed.value_class import state_class, value_class

Message = dramatiq.Message[Any]


SendState = SendResult | Literal["pending"]
"""Where a message is: `pending` until it is safe or has failed, then what metrics count."""


@value_class
class KeyConflict:
    """Another message has the unique key of this one, which is not published for that reason."""

    holder: str
    """The id of the message that has the key."""
    awaits_key: bool
    """This one waits in the schedule until the key is free; otherwise it is a duplicate."""


@state_class
class OutgoingMessage:
    """One message and its way from `pending` to a final state.

    | state | when | next |
    |---|---|---|
    | `pending` | it is to be published | `published`, `refused` |
    | `published` | RabbitMQ has confirmed it | |
    | `refused` | it is not safe; `error` says why | `pending`, `published`, `stored` |
    | `stored` | RabbitMQ could not take it; a relay publishes it | |
    | `scheduled` | it waits in the schedule for its key, or its transaction | |
    | `duplicate` | another message has its key | `refused`, with that message |
    """

    message: Message
    queue: Queue
    body: bytes = b""
    """Its JSON, while it is in flight."""
    state: SendState = "pending"
    error: Exception | None = None
    """Why it is refused; or the error that a duplicate was to raise."""
    conflict: KeyConflict | None = None
    """Set when its row is written, so it counts only once that transaction has committed."""
    publication: PendingPublish | None = None
    is_leased: bool = False
    """It has a row, from which a relay publishes it if this sender crashes."""
    may_have_arrived: bool = False
    """Published on a connection that was lost before the confirm."""

    @property
    def final_state(self) -> SendResult:
        """What became of it, as metrics count it; only once it is not pending any more."""
        if self.state == "pending":
            raise RuntimeError(f"{self.message.message_id} is still being sent")
        return self.state

    @property
    def key_holder(self) -> str | None:
        """The id of the message of which this one is a duplicate."""
        return self.conflict.holder if self.conflict and self.state == "duplicate" else None

    @property
    def send_result(self) -> Message:
        """What its sender gets: the message, or one with the id of the job that has its key."""
        if self.key_holder is None:
            return self.message
        return self.message.copy(message_id=self.key_holder)

    @property
    def key(self) -> Key:
        """The primary key of its row."""
        return self.message.message_id, int(self.message.options.get("generation", 0))

    @property
    def unique_key(self) -> str | None:
        """The key that only one job may hold at a time."""
        return self.message.options.get("unique_key")

    @property
    def needs_row(self) -> bool:
        """Whether it must be stored before it is published.

        A classic queue confirms messages that are not on its disk yet, and a crash must not
        separate a lock from its job.
        """
        return self.queue.kind == "classic" or self.unique_key is not None

    def build_key_claim(self, delay: timedelta) -> KeyClaim | None:
        """Return the claim of its unique key, for its span from when it is due."""
        return key_claim(self.message, delay)

    def record_key_holder(self, holder: str) -> None:
        """Note which message has its key, itself included."""
        if holder == self.message.message_id:
            self.conflict = None
        else:
            waits = self.message.options.get("on_conflict") == "reschedule"
            self.conflict = KeyConflict(holder, awaits_key=waits)

    def publish(self, batch: ConfirmBatch) -> None:
        """Add it to a batch for RabbitMQ; `finish_publish` takes the answer."""
        # Its consumer looks for a duplicate: a relay may publish another copy.
        leased = {"outbox": True} if self.is_leased else {}
        self.publication = batch.add(
            self.queue.name,
            self.body,
            message_properties(self.message, **leased),
            unknown=self.may_have_arrived,
        )

    def finish_publish(self) -> None:
        """Take RabbitMQ's answer, if it was published."""
        if self.publication is None:
            return
        self.may_have_arrived = self.publication.maybe_delivered
        if self.publication.error is None:
            self.finish("published")
        else:
            self.refuse(self.publication.error)

    def finish(self, state: SendResult) -> None:
        """Enter a state in which it is safe, or that of its conflict."""
        self.state, self.error = state, None
        if self.conflict is None:
            return
        self.state = "scheduled" if self.conflict.awaits_key else "duplicate"
        if self.message.options.get("on_conflict") == "raise":
            self.error = DuplicateJobError(str(self.unique_key), self.conflict.holder)

    def refuse(self, error: Exception) -> None:
        """Note why it is not safe."""
        self.state, self.error = "refused", error

    def retry(self) -> None:
        """Forget a refusal, and let it be published again."""
        self.state, self.error, self.publication = "pending", None, None

    def build_row(self, reason: Reason) -> schedule.OutboxRow:
        """Return it as a row of the schedule."""
        message_id, generation = self.key
        awaits_key = self.conflict is not None and self.conflict.awaits_key
        body = encode_message(awaiting_key(self.message)) if awaits_key else self.body
        return schedule.OutboxRow(
            message_id=message_id,
            generation=generation,
            queue=self.queue.name,
            actor=self.message.actor_name,
            body=body.decode(),
            reason=reason,
            possible_duplicate=self.may_have_arrived,
        )


def key_claim(message: Message, delay: timedelta) -> KeyClaim | None:
    """Return the claim of a message's unique key, for its span from when it is due."""
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
    """Return the message in the form in which it waits for a key that another job has."""
    return message.copy(options={"awaiting_unique_key": True})


def awaiting_key_body(message: Message) -> str | None:
    """Return its JSON while it waits for a key, if it is to wait for one."""
    waits = message.options.get("on_conflict") == "reschedule"
    return encode_message(awaiting_key(message)).decode() if waits else None


def encode_outgoing(message: Message, queue: Queue) -> OutgoingMessage:
    """Encode a message; one that cannot be encoded is refused."""
    outgoing = OutgoingMessage(message, queue)
    try:
        outgoing.body = encode_message(message)
    except orjson.JSONEncodeError as err:
        outgoing.refuse(PublishRefusedError(f"{message.actor_name}: {err!r}"))
    return outgoing


def metric_labels(outgoing: OutgoingMessage) -> tuple[str, str, SendResult]:
    """Return the actor and the queue of a message, and what became of it."""
    return outgoing.message.actor_name, outgoing.message.queue_name, outgoing.final_state


@state_class
class PublishBatch:
    """Messages that are published together."""

    messages: list[OutgoingMessage]
    deadline: float
    """When RabbitMQ is to have confirmed them, by `time.monotonic`."""
    confirms: ConfirmBatch | None = None
    is_abandoned: bool = False
    """Its sender was interrupted."""

    @property
    def pending(self) -> list[OutgoingMessage]:
        """The messages that are still to be published."""
        return [outgoing for outgoing in self.messages if outgoing.state == "pending"]
