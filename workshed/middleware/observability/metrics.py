"""Count and time what became of each job."""

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
    """Tell Prometheus of each delivery, by labels of closed sets: a message chooses none."""

    def __init__(self) -> None:
        """Know no actor; import the meters of the application.

        Raises `SettingsError` where its App names a module that is not there.
        """
        for name in app().metrics:
            module(name)
        self._actors: set[str] = set()
        self._queues: set[str] = set()
        self._ledger: MetricBuffer | None = None
        """Of a worker; elsewhere there is nothing in a hurry."""

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        """Begin to hand on what jobs note.

        Counters without labels begin at 0: in one that appears at 1 Prometheus sees no increase.
        """
        for meter in meters.ALL:
            if isinstance(meter, Counter) and not meter.labels:
                meter.add(amount=0)
        self._ledger = MetricBuffer()
        self._ledger.start()

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """Hand on what is left."""
        self.leaving()
        self._ledger = None

    def leaving(self) -> None:
        """Hand on what is left."""
        if self._ledger is not None:
            self._ledger.close()

    def after_declare_actor(self, broker: Broker, actor: dramatiq.Actor[Any, Any]) -> None:
        """Take its name for a label."""
        self._actors.add(actor.actor_name)

    def after_declare_queue(self, broker: Broker, queue_name: str) -> None:
        """Take its name for a label."""
        self._queues.add(queue_name)

    def began(self, job: Job) -> None:
        """Tell how long it has waited."""
        queue_wait_s = job.queue_wait_s
        if queue_wait_s is not None:
            self._note(meters.WAIT, "observe", queue_wait_s, self.labels(job.message))

    def ended(self, job: Job, outcome: Outcome) -> None:
        """Tell what became of it, and how long it ran if it did."""
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
        """Return a message's actor and queue, where this program declares them."""
        return (
            message.actor_name if message.actor_name in self._actors else OTHER,
            message.queue_name if message.queue_name in self._queues else OTHER,
        )


def serve_own(others: Pages = MappingProxyType({})) -> None:
    """Show this process's own numbers, in a thread, from now on, and other pages beside them.

    For one that is alone, as a relay or a clock. Where a folder is named it shares that with
    others, and the program that named it shows all.
    """
    config = settings()
    shown = dict(others)
    if config.counts_in_folder:
        # Not at the top: where nothing is measured, nothing is imported.
        exposition = importlib.import_module("workshed.metrics.exposition")
        shown["/metrics"] = exposition.metrics_page(exposition.collect_own)
    if shown:
        http.in_thread(config, shown)
