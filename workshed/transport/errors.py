"""Errors of sending and consuming messages.

WorkshedError
├── UndeclaredQueueError         the queue is not declared
├── InvalidArgumentError         JSON would change an argument, or it does not fit the actor
│   └── ArgumentTypeError        its annotation declares another type (also a TypeError)
├── AmbiguousUnionError          an annotation has types that JSON cannot tell apart (a TypeError)
├── InvalidOptionError           the option is unknown, or its value out of range
├── RefusedEncoderError          an encoder set in dramatiq does not write messages as plain JSON
├── StrayActorsError             actors were declared on another broker
├── EnvelopeError                a delivered message cannot be read
│   └── SignatureError           none of our keys signed it, or it was altered since
├── TopologyError                a queue is missing, or differs from its declaration
│   └── UnseenQueueError         the account may not see whether a queue exists
└── BrokerError                  (also dramatiq's `BrokerConnectionError`)
    ├── BrokerUnreachableError   no connection, or none within the deadline
    │   └── QueueUnavailableError       the queue is on a cluster node that is down
    ├── BrokerBlockedError       RabbitMQ takes no messages: a memory or disk alarm
    ├── PublishRefusedError      RabbitMQ answered, and did not take the message
    │   ├── UnroutableError      there is no queue or no exchange for it
    │   └── NackedError          its queue did not take it
    └── PartialSendError          some of several messages were not sent
"""

import importlib
from collections.abc import Iterable
from typing import Any

from dramatiq import Broker, Message
from dramatiq.errors import BrokerConnectionError

from workshed.errors import (
    EXIT_BROKER,
    EXIT_DATABASE,
    EXIT_USAGE,
    DatabaseUnreachableError,
    WorkshedError,
)

__all__ = [
    "AmbiguousUnionError",
    "ArgumentTypeError",
    "BrokerBlockedError",
    "BrokerError",
    "BrokerUnreachableError",
    "InvalidArgumentError",
    "InvalidOptionError",
    "NackedError",
    "PartialSendError",
    "PublishRefusedError",
    "QueueUnavailableError",
    "UndeclaredQueueError",
    "UnroutableError",
]

MOST_NAMES = 5
"""Most actors that one error message names."""


class UndeclaredQueueError(WorkshedError):
    """The queue is not declared: sending to it would lose the message."""

    def __init__(self, queue: str, declared: Iterable[str]) -> None:
        super().__init__(
            f"queue {queue!r} is not declared{did_you_mean(queue, declared)}; declare it before "
            f'the first actor on it: broker.add_queue(Queue("{queue}"))'
        )
        self.queue = queue


class InvalidArgumentError(WorkshedError):
    """The arguments of a job do not survive JSON exactly, or do not fit the actor."""


class ArgumentTypeError(InvalidArgumentError, TypeError):
    """An argument is not of the type that the actor's annotation declares."""

    def __init__(self, actor: str, field: str, given: str, expected: str) -> None:
        """Name the argument and the place in it, such as `order.lines[2].price`."""
        super().__init__(f"{actor}: argument {field}: {given} does not fit: {expected}")
        self.actor = actor
        self.field = field
        self.given = given
        self.expected = expected


class AmbiguousUnionError(WorkshedError, TypeError):
    """The members of a union in an annotation have the same JSON form."""

    def __init__(self, actor: str, argument: str, members: str) -> None:
        super().__init__(
            f"{actor}: argument {argument}: JSON cannot tell {members} apart; annotate one, or "
            "give a union of models a discriminator"
        )


class InvalidOptionError(WorkshedError):
    """An option of a message is unknown here, or its value is out of range."""


class RefusedEncoderError(WorkshedError):
    """The encoder set in dramatiq writes output that Workshed cannot read: no job would run."""

    def __init__(self, encoder: object) -> None:
        name = type(encoder).__name__
        super().__init__(
            f"Workshed cannot read what {name} writes, so no job would run: leave out the call of "
            f"dramatiq.set_encoder with {name}. Messages are plain JSON, because SQL and the "
            "console read them, too"
        )


class StrayActorsError(WorkshedError):
    """Actors were declared on another broker, where none of Workshed's guarantees hold."""

    def __init__(self, other: Broker) -> None:
        names = sorted(other.actors)
        shown = ", ".join(names[:MOST_NAMES]) + (", …" if len(names) > MOST_NAMES else "")
        super().__init__(
            f"declared on a {type(other).__name__}, not on Workshed's broker: {shown}. Import it "
            "before the first actor: from workshed import broker. If these actors belong on the "
            "other broker, pass it to each as broker=…, and do not call dramatiq.set_broker with it"
        )
        self.actors = names


class EnvelopeError(WorkshedError):
    """A delivered message cannot be read; `str()` names the field and the problem."""


class SignatureError(EnvelopeError):
    """None of our keys signed the message as it is, so its writer is unknown."""


class TopologyError(WorkshedError):
    """RabbitMQ's queues differ from those that the program declares."""


class UnseenQueueError(TopologyError):
    """The account may neither create a queue nor see whether it exists; a publish will show."""


class BrokerError(WorkshedError, BrokerConnectionError):
    """RabbitMQ did not take a message. dramatiq treats it as its own connection error."""

    text: str

    def __init__(self, message: str) -> None:
        Exception.__init__(self, message)  # dramatiq's base class has a signature of its own
        self.text = message

    def __str__(self) -> str:
        """Return what happened and what to do."""
        return self.text


class BrokerUnreachableError(BrokerError):
    """There is no connection to RabbitMQ, or none was made in time."""


class QueueUnavailableError(BrokerUnreachableError):
    """The queue is on a cluster node that is stopping or down, and comes back with that node."""


class BrokerBlockedError(BrokerError):
    """RabbitMQ blocks publishers because it is short of memory or disk."""


class PublishRefusedError(BrokerError):
    """RabbitMQ answered, and did not take the message: nacked or unroutable."""


class UnroutableError(PublishRefusedError):
    """RabbitMQ has no queue or no exchange for the message: deleted, or lost with its data."""


class NackedError(PublishRefusedError):
    """The queue did not take the message: it is full or unavailable."""


class PartialSendError(BrokerError):
    """Some messages of `enqueue_many` were not sent; the error lists which, and why."""

    def __init__(
        self, sent: list[Message[Any]], unsent: list[tuple[Message[Any], Exception]]
    ) -> None:
        count = len(sent) + len(unsent)
        super().__init__(f"{len(unsent)} of {count} messages were not sent; first: {unsent[0][1]}")
        self.sent = sent
        """Confirmed by RabbitMQ, or stored in PostgreSQL."""
        self.unsent = unsent
        """Each with its error, which says whether a copy may nevertheless have arrived."""


def exit_code(error: WorkshedError) -> int:
    """Return the documented exit code of a process that cannot start."""
    if isinstance(error, BrokerUnreachableError):
        return EXIT_BROKER
    if isinstance(error, DatabaseUnreachableError):
        return EXIT_DATABASE
    return EXIT_USAGE


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ` (did you mean 'x'?)`, or an empty string if no known name is close."""
    # Imported for an error only: it takes a third of a megabyte of each process.
    close = importlib.import_module("difflib").get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
