"""Gauges of a worker process."""

from collections import Counter

from workshed.metrics import meters
from workshed.transport.consuming.delivery import Delivery
from workshed.transport.consuming.in_flight import RunningJobs


class WorkerGauges:
    """Measures which jobs run in this process."""

    def __init__(self, running: RunningJobs, threads: int) -> None:
        self._running = running
        self._threads = threads
        self._seen_labels: set[tuple[str, str]] = set()

    def update(self, *, relay_alive: bool) -> None:
        """Set the number of running jobs by actor and queue, and whether a relay is alive."""
        runs = Counter(job_labels(delivery) for delivery in self._running)
        self._seen_labels |= runs.keys()  # so that pairs without running jobs are set to 0
        for pair in self._seen_labels:
            meters.JOBS_RUNNING.set(runs[pair], *pair)
        meters.WORKERS.set(1)
        meters.WORKER_THREADS.set(self._threads)
        meters.WORKER_THREADS_BUSY.set(runs.total())
        meters.RELAY_ALIVE.set(int(relay_alive))


def job_labels(delivery: Delivery) -> tuple[str, str]:
    """Return actor and queue; only jobs of this program's actors run, so the labels are few."""
    return delivery.actor_name, delivery.queue_name
