"""How long a process may believe that the rows it has claimed are its own."""

import time
from uuid import UUID

from workshed.jobs.outbox.relays import DEAD_AFTER


class LeasePeriod:
    """A time in which a worker sent heartbeats often enough; what it claimed then is its own.

    Once it was silent for longer, others may have taken its rows, so it never opens again.
    """

    def __init__(self, worker: UUID, sent_at: float) -> None:
        """Begin with the heartbeat that was sent at a time of `time.monotonic`."""
        self.worker = worker
        self._ends_at = sent_at + DEAD_AFTER.total_seconds()

    @property
    def is_open(self) -> bool:
        """Whether no other process can have taken its rows."""
        return time.monotonic() < self._ends_at

    def extend(self, sent_at: float) -> bool:
        """Note another heartbeat; False if it came too late."""
        if not self.is_open:
            return False
        self._ends_at = sent_at + DEAD_AFTER.total_seconds()
        return True
