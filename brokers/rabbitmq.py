"""The broker: under the stock `dramatiq` command, without its ways to lose a job."""

import os
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import dramatiq
from dramatiq.middleware import Middleware
from dramatiq.worker import Worker

from brokers import topology
from brokers.base import DeclaredBroker
from brokers.consumer import Inbox, QueueConsumer
from brokers.delivery import Delivery
from brokers.envelope import properties
from brokers.execution import Execution
from brokers.publisher import Publisher, Ticket
from brokers.queues import Queue
from brokers.worker_life import WorkerLife, check_time_limits
from middleware import Job, Outcome
from workshed import db
from workshed.db import Connection
from workshed.settings import Settings


class RabbitMQ(DeclaredBroker):
    """Publishes with confirms, consumes with acks bound to their channel, settles in PostgreSQL.

    One connection of a process publishes, one consumes, each opened on first use.
    """

    def __init__(
        self,
        urls: list[str],
        queues: dict[str, Queue],
        middleware: list[Middleware],
        config: Settings,
    ) -> None:
        """Open nothing."""
        self.urls = urls
        self._publish_timeout_s = config.publish_timeout.total_seconds()
        self._publisher = Publisher(urls, "publisher")
        self._inbox = Inbox(urls, "consumer")
        self._execution = Execution(self._inbox, config.unknown_actor_grace)
        self._life = WorkerLife(self._inbox, self._execution, config.shutdown_grace)
        self._ensured: set[str] = set()
        self._ensuring = threading.Lock()
        os.register_at_fork(after_in_child=self._forked)
        super().__init__(queues, middleware)
        self._execution.use(self.middleware)

    def _forked(self) -> None:
        self._ensuring = threading.Lock()  # a thread of the parent may hold it

    def enqueue(
        self, message: dramatiq.Message[Any], *, delay: int | None = None
    ) -> dramatiq.Message[Any]:
        """Send a message, or store it when it is to wait (`delay` in milliseconds).

        Returns once RabbitMQ has confirmed it, or its row has committed; otherwise raises what
        `check` raises, or a `BrokerError` that says whether a copy may have arrived.
        """
        # In a job that runs once, what it sends commits with what it writes.
        if delay or db.joined_connection() is not None:
            span = timedelta(milliseconds=delay or 0)
            with db.transaction() as conn:
                self.store(conn, message, delay=span, at=None, reason="delay" if delay else "send")
            return message
        self.check(message)
        self.emit_before("enqueue", message, delay)
        self._publish(message)
        self.emit_after("enqueue", message, delay)
        return message

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 30_000) -> QueueConsumer:
        """Consume a declared queue; `timeout` in milliseconds."""
        queue = self.declared[queue_name]
        wanted = self._life.prefetch(queue, prefetch)
        return QueueConsumer(self._inbox, queue, wanted, timeout / 1000, self._strange)

    def ensure_queues(self, names: set[str]) -> None:
        """Make queues, once per process, or see that they are there.

        Raises `BrokerUnreachableError` or `TopologyError`.
        """
        with self._ensuring:
            missing = sorted(names - self._ensured)
            if missing:
                topology.ensure(self.urls, [self.declared[name] for name in missing])
                self._ensured.update(missing)

    def close(self) -> None:
        """Close both connections in good order."""
        self._inbox.close()
        self._publisher.close()

    def emit_before(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """Run the hooks; those around a job and a worker's life are ours to guard."""
        match signal:
            case "process_message":
                self._execution.start(args[0], self._resolved("before_process_message"), self)
            case "worker_shutdown":
                self._life.leave()
                super().emit_before(signal, *args, **kwargs)
            case _:
                super().emit_before(signal, *args, **kwargs)

    def emit_after(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """Store the outcome of a job before anything observes it."""
        match signal:
            case "process_message":
                delivery: Delivery = args[0]
                self._execution.conclude(delivery, self._actor(delivery), kwargs.get("exception"))
            case "skip_message":
                self._execution.skipped(args[0], self._actor(args[0]))
            case "worker_boot":
                self._life.watch(args[0], [self._inbox.link])
            case "worker_shutdown":
                self._life.end()
        super().emit_after(signal, *args, **kwargs)

    def settle(self, conn: Connection, job: Job, outcome: Outcome) -> None:
        """Let each middleware write what follows from an outcome, in the caller's transaction."""
        self._execution.settle(conn, job, outcome)

    def _boot(self, worker: Worker) -> None:
        super()._boot(worker)
        self._life.begin(worker, self)

    def _strange(self, delivery: Delivery) -> Callable[[], None] | None:
        if delivery.actor_name in self.actors:
            return None
        return lambda: self._execution.stranger(delivery)

    def _actor(self, delivery: Delivery) -> dramatiq.Actor[..., Any]:
        return self.get_actor(delivery.actor_name)

    def _publish(self, message: dramatiq.Message[Any]) -> None:
        self.ensure_queues({message.queue_name})
        ticket = Ticket()
        ticket.add(message.queue_name, message.encode(), properties(message))
        self._publisher.publish(ticket, self._publish_timeout_s)
        error = ticket.publications[0].error
        if error is not None:
            raise error

    def check_worker(self, worker: Worker) -> None:
        """Refuse queues no actor is on; make the others."""
        super().check_worker(worker)
        names = set(worker.consumer_whitelist or self.queues)
        check_time_limits(self, names)
        self.ensure_queues(names)
