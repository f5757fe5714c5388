"""Count and time what became of each job."""

import importlib
from typing import Any

import dramatiq
from dramatiq.broker import Broker

from middleware.job import Job, Outcome
from middleware.observer import Observer
from workshed.metrics import meters
from workshed.metrics.meters import OTHER
from workshed.settings import multiprocess_folder, settings


class Metrics(Observer):
    """Tell Prometheus of each delivery, by labels of closed sets: a message chooses none."""

    def __init__(self) -> None:
        """Know no actor."""
        self._actors: set[str] = set()
        self._queues: set[str] = set()

    def after_declare_actor(self, broker: Broker, actor: dramatiq.Actor[Any, Any]) -> None:
        """Take its name for a label."""
        self._actors.add(actor.actor_name)

    def after_declare_queue(self, broker: Broker, queue_name: str) -> None:
        """Take its name for a label."""
        self._queues.add(queue_name)

    def began(self, job: Job) -> None:
        """Tell how long it has waited."""
        waited = job.waited
        if waited is not None:
            meters.WAIT.observe(waited.total_seconds(), *self.labels(job.message))

    def ended(self, job: Job, outcome: Outcome) -> None:
        """Tell what became of it, and how long it ran if it did."""
        actor, queue = self.labels(job.message)
        meters.JOBS.add(actor, queue, outcome.label)
        if job.took is not None:
            meters.RUN.observe(job.took.total_seconds(), actor, queue)

    def labels(self, message: dramatiq.Message[Any]) -> tuple[str, str]:
        """Return a message's actor and queue, where this program declares them."""
        return (
            message.actor_name if message.actor_name in self._actors else OTHER,
            message.queue_name if message.queue_name in self._queues else OTHER,
        )


def serve_own() -> None:
    """Show this process's own numbers, in a thread, from now on.

    For one that is alone, as a relay or a clock. Where a folder is named it shares that with
    others, and whoever named it shows all.
    """
    config = settings()
    if config.metrics and multiprocess_folder() is None:
        # Not at the top: where nothing is measured, nothing is imported.
        exposition = importlib.import_module("workshed.metrics.exposition")
        exposition.in_thread(config, exposition.own)
