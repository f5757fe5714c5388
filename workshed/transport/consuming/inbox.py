"""What a worker needs of the server that its jobs come from: the seam between the transports."""

import threading
from typing import Protocol
from uuid import UUID

from workshed.transport.amqp.acks import Settlement
from workshed.transport.consuming.delivery import Delivery
from workshed.transport.consuming.watermarks import QueueWatermarks


class WatchedLoop(Protocol):
    """A thread that turns all the time, also when there is nothing to do."""

    @property
    def name(self) -> str:
        """What it serves, for people."""

    @property
    def is_started(self) -> bool:
        """Whether it is to turn."""

    @property
    def loop_ticks(self) -> int:
        """How often it has turned."""


class Inbox(Protocol):
    """Where the deliveries of a process come from, and where they are settled."""

    stopping: threading.Event
    """Set once this worker starts no more jobs."""
    watermarks: QueueWatermarks

    def reset(self) -> None:
        """Prepare for another worker in this process, after the previous one has stopped."""

    @property
    def problem(self) -> str | None:
        """Why no deliveries can arrive now; `None` if they can."""

    @property
    def loops(self) -> list[WatchedLoop]:
        """The threads that receive and settle."""

    def is_consuming(self, names: set[str]) -> bool:
        """Return whether deliveries of each of these queues arrive, or cannot."""

    def settle_delivery(self, delivery: Delivery, verb: Settlement) -> None:
        """Settle a delivery soon; does nothing if it is no longer ours."""

    def pause(self, names: frozenset[str]) -> None:
        """Receive nothing of these queues, and all of the others."""

    def is_paused(self, name: str) -> bool:
        """Return whether nothing of a queue must be received now."""

    def record_heartbeat(self, worker: UUID, sent_at: float) -> None:
        """Note that PostgreSQL has stored a heartbeat, sent at a time of `time.monotonic`."""

    def stop_consuming(self, within_s: float) -> None:
        """Receive nothing more; running jobs can still be settled."""

    def flush(self, within_s: float) -> None:
        """Settle now what is to be settled soon."""

    def close(self) -> None:
        """Settle the last deliveries, and disconnect."""
