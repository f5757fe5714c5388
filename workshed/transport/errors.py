"""What can go wrong on the way of a message.

WorkshedError
├── UndeclaredQueueError         a queue nobody declared
├── InvalidArgumentError         an argument JSON would change, or the actor does not take
├── InvalidOptionError           an option no middleware knows, or out of its range
├── RefusedEncoderError          `dramatiq.set_encoder` with one that writes no JSON of a message
├── StrayActorsError             actors that were declared on another broker
├── UnknownConnectionError       `schedule.send` on what cannot carry a job (also a TypeError)
├── EnvelopeError                a delivered message that cannot be read
│   └── SignatureError           nobody here has signed it, or it was altered since
├── TopologyError                a queue is missing, or differs from its declaration
│   └── UnseenQueueError         the account may not see whether a queue is there
└── BrokerError                  (also dramatiq's `BrokerConnectionError`)
    ├── BrokerUnreachableError   no connection, or none within the deadline
    │   └── QueueUnavailableError       the queue is on a node of the cluster that has ended
    ├── BrokerBlockedError       RabbitMQ takes no messages: a memory or disk alarm
    ├── PublishRefusedError      RabbitMQ answered, and did not take the message
    │   ├── UnroutableError      there is no queue or no exchange for it
    │   └── NackedError          its queue did not take it
    └── PartialSendError          of many messages, some were not sent
"""

import difflib
from collections.abc import Iterable
from typing import Any

from dramatiq import Broker, Message
from dramatiq.errors import BrokerConnectionError

from workshed.errors import DatabaseUnreachableError, WorkshedError

MOST_NAMES = 5
"""Actors that one sentence names."""


class UndeclaredQueueError(WorkshedError):
    """A queue nobody declared: sending to it would lose the message."""

    def __init__(self, queue: str, declared: Iterable[str]) -> None:
        """Name the line to add."""
        super().__init__(
            f"queue {queue!r} is not declared{did_you_mean(queue, declared)}; declare it before "
            f'the first actor on it: broker.add_queue(Queue("{queue}"))'
        )
        self.queue = queue


class InvalidArgumentError(WorkshedError):
    """The arguments of a job do not survive JSON exactly, or do not fit the actor."""


class InvalidOptionError(WorkshedError):
    """An option of a message that nothing here understands, or whose value is out of range."""


class RefusedEncoderError(WorkshedError):
    """An encoder was set whose output Workshed cannot read: its jobs would all be dead."""

    def __init__(self, encoder: object) -> None:
        """Name it, and the line to take out."""
        name = type(encoder).__name__
        super().__init__(
            f"Workshed cannot read what {name} writes, so no job would run: leave out the call of "
            f"dramatiq.set_encoder with {name}. Messages are plain JSON, which SQL and the console "
            "read, too"
        )


class StrayActorsError(WorkshedError):
    """Actors were declared on another broker, where nothing that Workshed promises holds."""

    def __init__(self, other: Broker) -> None:
        """Name them, and the line to move."""
        names = sorted(other.actors)
        shown = ", ".join(names[:MOST_NAMES]) + (", …" if len(names) > MOST_NAMES else "")
        super().__init__(
            f"declared on a {type(other).__name__}, not on Workshed's broker: {shown}. Import it "
            "before the first actor: from workshed import broker. Actors that are meant for the "
            "other one name it, broker=…, and it is not given to dramatiq.set_broker"
        )
        self.actors = names


class UnknownConnectionError(WorkshedError, TypeError):
    """What `schedule.send` was given is no connection it knows, or not one to PostgreSQL."""


class EnvelopeError(WorkshedError):
    """A delivered message that cannot be read; `str()` gives the field and what is wrong."""


class SignatureError(EnvelopeError):
    """None of our keys has signed a message as it is: who wrote it is not known."""


class TopologyError(WorkshedError):
    """What RabbitMQ has is not what the program declares."""


class UnseenQueueError(TopologyError):
    """The account may neither make a queue nor see whether it is there; a publish will tell."""


class BrokerError(WorkshedError, BrokerConnectionError):
    """RabbitMQ did not take a message; dramatiq knows it as its own connection error."""

    text: str

    def __init__(self, message: str) -> None:
        """Keep the sentence for people."""
        Exception.__init__(self, message)  # dramatiq's base class has a signature of its own
        self.text = message

    def __str__(self) -> str:
        """Say what happened and what to do."""
        return self.text


class BrokerUnreachableError(BrokerError):
    """There is no connection to RabbitMQ, or none was made in time."""


class QueueUnavailableError(BrokerUnreachableError):
    """The queue is on a node of the cluster that stops or has ended, and comes back with it."""


class BrokerBlockedError(BrokerError):
    """RabbitMQ blocks publishers because it is short of memory or disk."""


class PublishRefusedError(BrokerError):
    """RabbitMQ answered, and did not take the message: nacked or unroutable."""


class UnroutableError(PublishRefusedError):
    """RabbitMQ has no queue for the message, or no exchange: deleted, or lost with its data."""


class NackedError(PublishRefusedError):
    """The queue did not take the message: it is full, or away."""


class PartialSendError(BrokerError):
    """Of the messages of `enqueue_many` some were not sent; which, and why, is said exactly."""

    def __init__(
        self, sent: list[Message[Any]], unsent: list[tuple[Message[Any], Exception]]
    ) -> None:
        """Keep both lists, in the order they were given."""
        count = len(sent) + len(unsent)
        super().__init__(f"{len(unsent)} of {count} messages were not sent; first: {unsent[0][1]}")
        self.sent = sent
        """Confirmed by RabbitMQ, or stored in PostgreSQL."""
        self.unsent = unsent
        """Each with its error, which says whether a copy may have arrived all the same."""


EXIT_USAGE = 2
EXIT_BROKER = 3
EXIT_DATABASE = 4
EXIT_WATCHDOG = 70
"""A thread died, or an I/O loop hung: another process is to be started in its place."""

EXIT_HARD_DEADLINE = 71
"""A job did not end at its hard limit: likewise."""


def exit_code(error: WorkshedError) -> int:
    """Choose the documented exit code of a process that cannot start."""
    if isinstance(error, BrokerUnreachableError):
        return EXIT_BROKER
    if isinstance(error, DatabaseUnreachableError):
        return EXIT_DATABASE
    return EXIT_USAGE


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?`, or nothing when no known name is close."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
