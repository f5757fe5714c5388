"""What a worker needs of its broker: it consumes, executes, and watches its threads."""

import functools
from collections.abc import Callable, Iterable

from dramatiq.worker import Worker

from workshed.settings import Settings
from workshed.transport.arguments.versions import VERSION, actor_version, read_version
from workshed.transport.base import WorkshedBroker
from workshed.transport.consuming.delivery import Delivery
from workshed.transport.consuming.execution import JobExecutor
from workshed.transport.consuming.inbox import Inbox, WatchedLoop
from workshed.transport.consuming.work_queue import QueuedJob
from workshed.transport.messages.envelope import find_unknown_option
from workshed.transport.worker.lifecycle import WorkerLifecycle


class Consumption:
    """The inbox, the execution of jobs, and the life of the worker."""

    def __init__(self, broker: WorkshedBroker, inbox: Inbox, config: Settings) -> None:
        """Open nothing yet."""
        self._broker = broker
        self.inbox = inbox
        self.execution = JobExecutor(inbox, config.unknown_actor_grace)
        self.execution.set_middleware(broker.middleware)
        self.lifecycle = WorkerLifecycle(inbox, self.execution, config.shutdown_grace)

    def boot(self, worker: Worker) -> None:
        """Prepare a worker, before anything is consumed."""
        self.lifecycle.boot(worker, self._broker)

    def watch(self, worker: Worker, others: Callable[[], Iterable[WatchedLoop]]) -> None:
        """Watch the threads of a worker, the loops of its inbox, and the `others` of its broker."""
        self.lifecycle.start_watching(worker, lambda: [*self.inbox.loops, *others()])

    def queue_deliveries(self, deliveries: list[Delivery]) -> None:
        """Queue deliveries for the threads that run them."""
        actors = self._broker.actors
        items = [QueuedJob(actors[one.actor_name].priority, one) for one in deliveries]
        self.execution.work.put_all(items)

    def find_unrunnable(self, delivery: Delivery) -> Callable[[], bool] | None:
        """Return the step of `Quarantine` for a delivery that this process cannot run as it is."""
        if not delivery.job.message.options:
            actor = self._broker.actors.get(delivery.actor_name)
            if actor is not None and getattr(actor, "arguments", None) is None:
                return None
        if self._find_unknown(delivery) is None:
            return None
        return functools.partial(self._import_or_store, delivery)

    def _import_or_store(self, delivery: Delivery) -> bool:
        """Import the actor of a delivery and queue it, or store what is unknown of it.

        Returns whether it is stored. In the consumer thread of its queue, because an import in the
        I/O thread would hold up the deliveries, acks and heartbeats of all queues.
        """
        name = delivery.actor_name
        if name not in self._broker.actors:
            self._broker.import_actor(name)
        unknown = self._find_unknown(delivery)
        if unknown is None:
            self.queue_deliveries([delivery])
            return False
        self.execution.handle_unknown_actor(delivery, unknown)
        return True

    def _find_unknown(self, delivery: Delivery) -> str | None:
        """Return what a newer release may know of a job, and this one does not."""
        message = delivery.job.message
        option = find_unknown_option(message, self._broker.added_options)
        if option is not None:
            return f"option {option!r:.50}"
        actor = self._broker.actors.get(delivery.actor_name)
        if actor is None:
            return f"actor {delivery.actor_name!r}"
        if VERSION in message.options and read_version(message) > actor_version(actor):
            return f"version {read_version(message)} of the arguments of {actor.actor_name!r}"
        arguments = getattr(actor, "arguments", None)
        argument = None if arguments is None else arguments.find_unknown(message)
        return None if argument is None else f"argument {argument} of {actor.actor_name!r}"
