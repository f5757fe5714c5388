"""Count and time the outcomes of jobs."""

import importlib
from types import MappingProxyType
from typing import Any

import dramatiq
from dramatiq.broker import Broker
from dramatiq.worker import Worker

from workshed import http
from workshed.app import app, module
from workshed.http import Pages
from workshed.metrics import meters
from workshed.metrics.ledger import MetricBuffer
from workshed.metrics.meter import Counter, Metric
from workshed.metrics.meters import OTHER
from workshed.middleware.job import Job, Outcome
from workshed.middleware.observer import Observer
from workshed.settings import settings


class Metrics(Observer):
    """Record metrics of each delivery; labels come from closed sets, never from a message."""

    def __init__(self) -> None:
        """Start with no actors; import the application's meters.

        Raises `SettingsError` if its App names a module that does not exist.
        """
        for name in app().metrics:
            module(name)
        self._actors: set[str] = set()
        self._queues: set[str] = set()
        self._ledger: MetricBuffer | None = None
        """Set only in a worker; other processes are not in a hurry."""

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        """Start passing on what jobs record.

        Counters without labels start at 0, because Prometheus sees no increase in one that first
        appears at 1.
        """
        for meter in meters.ALL:
            if isinstance(meter, Counter) and not meter.labels:
                meter.add(amount=0)
        self._ledger = MetricBuffer()
        self._ledger.start()

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """Pass on what is left."""
        self.leaving()
        self._ledger = None

    def leaving(self) -> None:
        """Pass on what is left."""
        if self._ledger is not None:
            self._ledger.close()

    def after_declare_actor(self, broker: Broker, actor: dramatiq.Actor[Any, Any]) -> None:
        """Allow its name as a label."""
        self._actors.add(actor.actor_name)

    def after_declare_queue(self, broker: Broker, queue_name: str) -> None:
        """Allow its name as a label."""
        self._queues.add(queue_name)

    def began(self, job: Job) -> None:
        """Record how long the job has waited."""
        queue_wait_s = job.queue_wait_s
        if queue_wait_s is not None:
            self._note(meters.WAIT, "observe", queue_wait_s, self.labels(job.message))

    def ended(self, job: Job, outcome: Outcome) -> None:
        """Record the outcome, and how long the job ran if it did."""
        labels = self.labels(job.message)
        self._note(meters.JOBS, "inc", 1, (*labels, outcome.kind))
        if job.duration_s is not None:
            self._note(meters.RUN, "observe", job.duration_s, labels)

    def _note(self, meter: Metric, method: str, number: float, labels: tuple[str, ...]) -> None:
        if self._ledger is None:
            meter.tell(method, number, labels)
        else:
            self._ledger.note(meter, method, number, labels)

    def labels(self, message: dramatiq.Message[Any]) -> tuple[str, str]:
        """Return the message's actor and queue, replaced unless this program declares them."""
        return (
            message.actor_name if message.actor_name in self._actors else OTHER,
            message.queue_name if message.queue_name in self._queues else OTHER,
        )


def serve_own(others: Pages = MappingProxyType({})) -> None:
    """Serve this process's own metrics and `others`, other pages, in a thread from now on.

    For a process that runs alone, such as a relay or a clock. Where a metrics folder is set, the
    process shares it with others, and the program that set it serves the metrics of all.
    """
    config = settings()
    shown = dict(others)
    if config.counts_in_folder:
        # Imported here, so that processes without metrics do not import it.
        exposition = importlib.import_module("workshed.metrics.exposition")
        shown["/metrics"] = exposition.metrics_page(exposition.collect_own)
    if shown:
        http.in_thread(config, shown)
