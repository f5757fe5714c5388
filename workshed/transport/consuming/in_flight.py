"""The jobs that are running in this process."""

import threading
from collections.abc import Iterator

from workshed.transport.consuming.delivery import Delivery


class RunningJobs:
    """Running jobs by message and generation; a second delivery of one waits for its outcome.

    After a lost connection RabbitMQ redelivers jobs that still run, often to the same process.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._empty = threading.Condition(self._lock)
        self._jobs: dict[tuple[str, int], list[Delivery]] = {}

    def add(self, delivery: Delivery) -> bool:
        """Note that a job starts; False if it is running already, so that this delivery waits."""
        with self._lock:
            same = self._jobs.setdefault(delivery.job.run_id, [])
            same.append(delivery)
            return len(same) == 1

    def remove(self, delivery: Delivery) -> list[Delivery]:
        """Note that a job has ended; return the deliveries that waited for that."""
        with self._lock:
            _, *waiting = self._jobs.pop(delivery.job.run_id, [delivery])
            if not self._jobs:
                self._empty.notify_all()
            return waiting

    def wait_until_empty(self, timeout_s: float) -> bool:
        """Wait until no job runs; False if one still does after `timeout_s`."""
        with self._lock:
            return self._empty.wait_for(lambda: not self._jobs, timeout_s)

    def __iter__(self) -> Iterator[Delivery]:
        """Iterate over the jobs that are running now."""
        with self._lock:
            return iter([same[0] for same in self._jobs.values()])
