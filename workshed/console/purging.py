"""End a message of a queue as a worker ends a cancelled job."""

from dataclasses import dataclass

from workshed.database.postgres import Connection
from workshed.middleware import DuplicateDelivery, Job, Outcome
from workshed.transport.consuming.quarantine import store_unreadable
from workshed.transport.errors import EnvelopeError
from workshed.transport.messages.signing import Headers, verify_and_decode
from workshed.transport.queue_flush import FlushableBroker

PURGED = Outcome("cancelled", "purged by an operator")


@dataclass(slots=True)
class PurgeCounts:
    """How many messages of a queue were purged."""

    ended: int = 0
    unreadable: int = 0
    """Messages that could not be read; they are stored as dead jobs, with their bodies."""

    @property
    def count(self) -> int:
        """All messages removed from the queue."""
        return self.ended + self.unreadable

    def add(self, *, is_readable: bool) -> None:
        """Count a message."""
        if is_readable:
            self.ended += 1
        else:
            self.unreadable += 1


def end_message(
    broker: FlushableBroker, conn: Connection, queue: str, headers: Headers, body: bytes
) -> bool:
    """Store the outcome of one message; `False` if it cannot be read and is now dead."""
    try:
        message = verify_and_decode(broker.signing, queue, headers, body)
    except EnvelopeError as err:
        store_unreadable(conn, queue, body, err)
        return False
    try:
        with conn.transaction():
            broker.write_outcome(conn, Job(message, may_be_duplicate=True), PURGED)
    except DuplicateDelivery:
        pass  # its outcome is stored already, and this was a copy
    return True
