"""What a worker process tells of this moment."""

from collections import Counter

from workshed.metrics import meters
from workshed.transport.consuming.delivery import Delivery
from workshed.transport.consuming.in_flight import RunningJobs


class WorkerGauges:
    """Looks at what runs in this process."""

    def __init__(self, running: RunningJobs, threads: int) -> None:
        """Nothing was told yet."""
        self._running = running
        self._threads = threads
        self._told: set[tuple[str, str]] = set()

    def look(self, *, relay_alive: bool) -> None:
        """Tell how many jobs run of each actor and queue, and whether some relay lives."""
        runs = Counter(job_labels(delivery) for delivery in self._running)
        self._told |= runs.keys()  # of what no longer runs, 0 is told
        for pair in self._told:
            meters.RUNNING.set(runs[pair], *pair)
        meters.WORKERS.set(1)
        meters.THREADS.set(self._threads)
        meters.BUSY.set(runs.total())
        meters.RELAY_ALIVE.set(int(relay_alive))


def job_labels(delivery: Delivery) -> tuple[str, str]:
    """Return actor and queue; one of no actor of this program does not get to run."""
    return delivery.actor_name, delivery.queue_name
