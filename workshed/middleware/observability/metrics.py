"""Count and time the outcomes of jobs."""

from typing import Any

import dramatiq
from dramatiq.broker import Broker
from dramatiq.worker import Worker

from workshed.app import get_app, load_module
from workshed.health.shared_folder import reserve_application_files
from workshed.metrics import meters
from workshed.metrics.buffer import MetricBuffer
from workshed.metrics.meters import OTHER
from workshed.metrics.metric import Counter, Metric
from workshed.middleware.job import Job, Outcome
from workshed.middleware.observer import Observer
from workshed.settings import settings


class Metrics(Observer):
    """Record metrics of each delivery; labels come from closed sets, never from a message."""

    def __init__(self) -> None:
        """Start with no actors; import the application's meters.

        Raises `SettingsError` if its App names a module that does not exist.
        """
        for name in get_app().metrics:
            load_module(name)
        self._actors: set[str] = set()
        self._queues: set[str] = set()
        self._buffer: MetricBuffer | None = None
        """Set only in a worker; other processes are not in a hurry."""

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        """Start passing on what jobs record.

        Counters without labels start at 0, because Prometheus sees no increase in one that first
        appears at 1.
        """
        for meter in meters.ALL:
            if isinstance(meter, Counter) and not meter.labels:
                meter.add(amount=0)
        folder = settings().shared_folder
        if folder is not None:
            reserve_application_files(folder)
        self._buffer = MetricBuffer()
        self._buffer.start()

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """Pass on what is left."""
        self.on_process_exit()
        self._buffer = None

    def on_process_exit(self) -> None:
        """Pass on what is left."""
        if self._buffer is not None:
            self._buffer.close()

    def after_declare_actor(self, broker: Broker, actor: dramatiq.Actor[Any, Any]) -> None:
        """Allow its name as a label."""
        self._actors.add(actor.actor_name)

    def after_declare_queue(self, broker: Broker, queue_name: str) -> None:
        """Allow its name as a label."""
        self._queues.add(queue_name)

    def on_start(self, job: Job) -> None:
        """Record how long the job has waited."""
        queue_wait_s = job.queue_wait_s
        if queue_wait_s is not None:
            self._record(meters.JOB_WAIT, queue_wait_s, self.labels(job.message))

    def on_outcome_stored(self, job: Job, outcome: Outcome) -> None:
        """Record the outcome, and how long the job ran if it did."""
        labels = self.labels(job.message)
        self._record(meters.JOBS, 1, (*labels, outcome.kind))
        if job.duration_s is not None:
            self._record(meters.JOB_RUN, job.duration_s, labels)

    def _record(self, meter: Metric, number: float, labels: tuple[str, ...]) -> None:
        if self._buffer is None:
            meter.record((number,), labels)
        else:
            self._buffer.record(meter, number, labels)

    def labels(self, message: dramatiq.Message[Any]) -> tuple[str, str]:
        """Return the message's actor and queue, replaced unless this program declares them."""
        return (
            message.actor_name if message.actor_name in self._actors else OTHER,
            message.queue_name if message.queue_name in self._queues else OTHER,
        )
