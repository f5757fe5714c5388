"""The jobs that run in this process now."""

import threading
from collections.abc import Iterator

from workshed.transport.consuming.delivery import Delivery


class RunningJobs:
    """What runs, by message and generation; a second delivery of one waits here for its outcome.

    After a lost connection RabbitMQ delivers again what still runs, often to the same process.
    """

    def __init__(self) -> None:
        """Nothing runs."""
        self._lock = threading.Lock()
        self._empty = threading.Condition(self._lock)
        self._jobs: dict[tuple[str, int], list[Delivery]] = {}

    def enter(self, delivery: Delivery) -> bool:
        """Note that it starts; False when it runs already, and this delivery waits."""
        with self._lock:
            same = self._jobs.setdefault(delivery.job.run_id, [])
            same.append(delivery)
            return len(same) == 1

    def leave(self, delivery: Delivery) -> list[Delivery]:
        """Note that it has ended; return the deliveries that have waited for that."""
        with self._lock:
            _, *waiting = self._jobs.pop(delivery.job.run_id, [delivery])
            if not self._jobs:
                self._empty.notify_all()
            return waiting

    def wait_empty(self, timeout_s: float) -> bool:
        """Wait until nothing runs; False when something still does after `timeout_s`."""
        with self._lock:
            return self._empty.wait_for(lambda: not self._jobs, timeout_s)

    def __iter__(self) -> Iterator[Delivery]:
        """Iterate over what runs now."""
        with self._lock:
            return iter([same[0] for same in self._jobs.values()])
