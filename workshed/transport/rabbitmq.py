"""The RabbitMQ broker: runs under the stock `dramatiq` command, without its ways to lose jobs."""

import functools
import importlib
import logging
import math
from collections import Counter as Tally
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import dramatiq
from dramatiq.middleware import Middleware
from dramatiq.worker import Worker

from workshed import db
from workshed.middleware.retrying.retries import retry_queues
from workshed.queues import Queue
from workshed.settings import Settings
from workshed.transport import queue_join
from workshed.transport.amqp import topology
from workshed.transport.amqp.declarations import QueueDeclarer
from workshed.transport.consuming_broker import ConsumingBroker
from workshed.transport.errors import (
    PartialSendError,
    QueueUnavailableError,
    TopologyError,
    UnseenQueueError,
)
from workshed.transport.messages.signing import build_signing
from workshed.transport.publishing.outgoing import Message, metric_labels
from workshed.transport.publishing.queue_depth import QueueDepthClient
from workshed.transport.publishing.sender import Sender
from workshed.transport.waiting import (
    BlockingWait,
    EventLoopWait,
    WaitStrategy,
    refuse_while_finalizing,
    run_blocking,
)

if TYPE_CHECKING:
    from workshed.transport.consuming.consumer import ConsumerConnection, QueueConsumer
    from workshed.transport.consuming.inbox import WatchedLoop
    from workshed.transport.rabbitmq_consumption import RabbitMQConsumption

R = TypeVar("R")

logger = logging.getLogger(__name__)


class RabbitMQBroker(ConsumingBroker["RabbitMQConsumption"]):
    """Publishes with confirms, acks on the channel of the delivery, stores outcomes in PostgreSQL.

    A process has one connection for publishing and one for consuming, each opened on first use.
    """

    consumption_module = "workshed.transport.rabbitmq_consumption"

    def __init__(
        self,
        urls: list[str],
        queues: dict[str, Queue],
        middleware: list[Middleware],
        config: Settings,
    ) -> None:
        """Take the settings; connections open on first use."""
        self.urls = urls
        self.signing = build_signing(config)
        self.prefix = config.queue_prefix
        self._publisher = QueueDepthClient(urls, "publisher", self.signing, self.prefix)
        self._declarer = QueueDeclarer(urls, queues)
        self._sender = Sender(
            self._publisher,
            self._declarer,
            queues,
            config.publish_timeout,
            storing=config.outbox_fallback,
        )
        self._config = config
        super().__init__(queues, middleware)

    def _make_consumption(self) -> "RabbitMQConsumption":
        module: Any = importlib.import_module(self.consumption_module)
        made: RabbitMQConsumption = module.RabbitMQConsumption(
            self, self.urls, self.signing, self._config
        )
        return made

    @property
    def _consumer_connection(self) -> "ConsumerConnection":
        return self._consumption.connection

    def _sending_loops(self) -> "Iterable[WatchedLoop]":
        return self._publisher.links

    def enqueue(
        self, message: dramatiq.Message[R], *, delay: int | None = None
    ) -> dramatiq.Message[R]:
        """Send a message, or store it if it has a `delay` (in milliseconds).

        Returns once RabbitMQ has confirmed it, or its row is committed, which is also the fallback
        if RabbitMQ cannot take it. Otherwise raises what `check` raises, or a `BrokerError` that
        says whether a copy may have arrived, or `DatabaseUnreachableError` if it needs a row first.
        A message whose `unique_key` another job has is not sent; the one returned has that job's
        ID.
        """
        refuse_while_finalizing()
        if (conn := self.open_transaction()) is not None:
            return self.send_on(conn, [message], delay=delay)[0]
        return run_blocking(self._enqueue(message, delay, BlockingWait()))

    def enqueue_at(self, message: dramatiq.Message[R], at: datetime) -> dramatiq.Message[R]:
        """Store a message that is due at `at`; raises as in the base class."""
        refuse_while_finalizing()
        return super().enqueue_at(message, at)

    async def send_async(
        self, message: dramatiq.Message[R], *, delay: timedelta | None = None
    ) -> dramatiq.Message[R]:
        """Do as `enqueue` does without blocking the event loop; only PostgreSQL takes a thread.

        Cancelling the task prevents the send, unless the message was already on its way.
        """
        refuse_while_finalizing()
        wait = None if delay is None else delay // timedelta(milliseconds=1)
        return await self._enqueue(message, wait, EventLoopWait())

    def enqueue_many(self, messages: Iterable[Message]) -> list[Message]:
        """Send many messages, two windows of 500 in flight; returns when all are durable.

        All are checked before the first is sent. Each window has the deadline of one `enqueue`.
        Raises `PartialSendError`, which lists the messages that are durable and those that are not.
        """
        refuse_while_finalizing()
        if (conn := self.open_transaction()) is not None:
            return self.send_on(conn, messages)
        batch = list(messages)
        for message in batch:
            self.check_message(message)
        for message in batch:
            self._before_send(message, None)
        joined = db.joined_connection() is not None
        sends = (
            self._sender.store_in_transaction(batch)
            if joined
            else run_blocking(self._sender.send(batch, BlockingWait()))
        )
        for (actor, queue, how), count in Tally(map(metric_labels, sends)).items():
            self.count_send(actor, queue, how, count)
        if self._hooks_for("after_enqueue"):
            for outgoing in sends:
                if outgoing.error is None and outgoing.key_holder is None:
                    self.emit_after("enqueue", outgoing.message, None)
        sent = [outgoing.send_result for outgoing in sends if outgoing.error is None]
        unsent = [(each.message, each.error) for each in sends if each.error is not None]
        if unsent:
            raise PartialSendError(sent, unsent)
        return sent

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 30_000) -> "QueueConsumer":
        """Consume a declared queue, once this worker is up; `timeout` in milliseconds."""
        missing = self._declarer.redeclare_soon
        return self._consumption.consume(queue_name, prefetch, timeout / 1000, missing)

    def ensure_queues(self, names: set[str]) -> None:
        """Declare queues, once per process, or check that they exist.

        If only some queues are on a node that is down, this only warns: their consumers wait for
        them, and the others have jobs, too. Raises `BrokerUnreachableError`, or, once the others
        are declared, `TopologyError` for all queues that RabbitMQ refuses.
        """
        problems = run_blocking(self._declarer.declare(names, math.inf, BlockingWait()))
        refused = [err for err in problems.values() if isinstance(err, TopologyError)]
        if refused:
            raise topology.combine_problems(refused)
        for problem in problems.values():
            if not isinstance(problem, QueueUnavailableError) or len(problems) == len(names):
                raise problem
            logger.warning("%s", problem)

    def join(self, queue_name: str, *, timeout: int | None = None) -> None:
        """Wait until a queue is empty, as dramatiq's brokers do; `timeout` in milliseconds.

        For tests, before `worker.join()`. It also waits for delayed jobs and retries, which need a
        relay. Raises dramatiq's QueueJoinTimeout after `timeout`, and `UndeclaredQueueError`.
        """
        self._check_queue(queue_name)
        queue_join.join_queue(
            self._publisher, self.declared_queues[queue_name], self._execution, timeout
        )

    def get_queue_message_counts(self, queue_name: str) -> queue_join.JoinCounts:
        """Count the messages of a queue that are in RabbitMQ, stored in PostgreSQL, and dead.

        Raises `UndeclaredQueueError`, or `BrokerUnreachableError`.
        """
        self._check_queue(queue_name)
        return queue_join.count_queue(self._publisher, self.declared_queues[queue_name])

    def flush(self, queue_name: str) -> None:
        """Drop all messages of a queue, including delayed and dead ones; for tests.

        Each ends as a cancelled job, which frees its unique key and counts in its batch. Raises
        `UndeclaredQueueError`, or `BrokerUnreachableError`.
        """
        from workshed.transport import queue_flush  # noqa: PLC0415 -- only tests need it

        self._check_queue(queue_name)
        queue_flush.flush_queue(self, self.urls, self.declared_queues[queue_name])

    def close(self) -> None:
        """Close both connections gracefully."""
        if self._made_consumption is not None:
            self._consumer_connection.close()
        self._publisher.close()
        self._sender.close()

    async def _enqueue(self, message: Message, delay: int | None, waiting: WaitStrategy) -> Message:
        # In an actor with `once=True`, sends commit together with its writes.
        if delay or db.joined_connection() is not None:
            return await waiting.run_database_work(
                functools.partial(self._store_delayed, message, delay or 0)
            )
        self.check_message(message)
        self._before_send(message, delay)
        [outgoing] = await self._sender.send([message], waiting)
        self.count_send(message.actor_name, message.queue_name, outgoing.final_state)
        if outgoing.error is not None:
            raise outgoing.error
        if outgoing.key_holder is None:
            self.emit_after("enqueue", message, delay)
        return outgoing.send_result

    def check_worker(self, worker: Worker) -> None:
        """Refuse queues that no actor is on; declare the others."""
        super().check_worker(worker)
        names = set(worker.consumer_whitelist or self.queues)
        self._consumption.check_time_limits(names)
        # A retry on another queue must not have to wait for the first worker of that queue.
        elsewhere = {queue for actor in self.actors.values() for queue in retry_queues(actor)}
        self.ensure_queues(names)
        if elsewhere - names:
            try:
                self.ensure_queues(elsewhere - names)
            except UnseenQueueError as err:  # this worker only sends there, which may work
                logger.warning("%s", err)
