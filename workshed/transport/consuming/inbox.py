"""The interface between a worker and the server that delivers its jobs, one for each transport."""

import threading
from typing import Protocol
from uuid import UUID

from workshed.transport.amqp.acks import Settlement
from workshed.transport.consuming.delivery import Delivery
from workshed.transport.consuming.watermarks import QueueWatermarks


class WatchedLoop(Protocol):
    """A thread whose loop keeps running while it is idle, so that the watchdog sees a hung one."""

    @property
    def name(self) -> str:
        """The name of its connection, for log lines."""

    @property
    def is_started(self) -> bool:
        """Whether the loop was started."""

    @property
    def loop_ticks(self) -> int:
        """How many times the loop has run."""


class Inbox(Protocol):
    """Receives the deliveries of a process, and settles them."""

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
        """The loops that receive and settle deliveries."""

    def is_consuming(self, names: set[str]) -> bool:
        """Return whether each of these queues delivers, or is known to be unable to."""

    def settle_delivery(self, delivery: Delivery, verb: Settlement) -> None:
        """Settle a delivery soon; do nothing if this process no longer holds it."""

    def pause(self, names: frozenset[str]) -> None:
        """Stop consuming these queues, and consume all others."""

    def is_paused(self, name: str) -> bool:
        """Return whether a queue must not be consumed now."""

    def record_heartbeat(self, worker: UUID, sent_at: float) -> None:
        """Note that PostgreSQL has stored a heartbeat, sent at a time of `time.monotonic`."""

    def stop_consuming(self, within_s: float) -> None:
        """Stop new deliveries; running jobs can still be settled."""

    def flush(self, within_s: float) -> None:
        """Send all pending settlements now."""

    def close(self) -> None:
        """Send the last settlements, and disconnect."""
