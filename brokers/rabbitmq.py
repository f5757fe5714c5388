"""The broker: under the stock `dramatiq` command, without its ways to lose a job."""

import functools
import logging
import math
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from dramatiq.middleware import Middleware, SkipMessage
from dramatiq.worker import Worker

from brokers import deposits
from brokers.base import DeclaredBroker
from brokers.consumer import Delivery, Inbox, QueueConsumer
from brokers.ensured import Ensured
from brokers.errors import NotAllSentError
from brokers.parcel import Message, Parcel
from brokers.publisher import Publisher
from brokers.queues import Queue
from brokers.sender import Sender
from brokers.steps import HeldError, must
from brokers.waiting import Blocking, InLoop, Waiting, run
from middleware import CopyError, Job, Outcome, Retries, Settling, verdict
from middleware.retries import run_of
from workshed import db

logger = logging.getLogger(__name__)


class RabbitMQ(DeclaredBroker):
    """Publishes with confirms, consumes with acks bound to their channel, settles in PostgreSQL.

    One connection of a process publishes, one consumes, each opened on first use.
    """

    def __init__(
        self,
        urls: list[str],
        queues: dict[str, Queue],
        middleware: list[Middleware],
        publish_timeout: timedelta,
        *,
        storing: bool,
    ) -> None:
        """Open nothing. `storing`: in PostgreSQL, what RabbitMQ cannot take."""
        self.urls = urls
        self._publisher = Publisher(urls, "publisher")
        self._ensured = Ensured(urls, queues)
        self._sender = Sender(
            self._publisher, self._ensured, queues, publish_timeout, storing=storing
        )
        self._inbox = Inbox(urls, "consumer")
        super().__init__(queues, middleware)
        self._retries = next(m for m in middleware if isinstance(m, Retries))

    def enqueue(self, message: Message, *, delay: int | None = None) -> Message:
        """Send a message, or store it when it is to wait (`delay` in milliseconds).

        Returns once RabbitMQ has confirmed it, or its row has committed, as it does where RabbitMQ
        cannot take it; otherwise raises what `check` raises, or a `BrokerError` that says whether a
        copy may have arrived, or `DatabaseUnreachableError` where it needs a row first. A message
        whose `unique_key` another job has is not sent; the one returned has that job's id.
        """
        return run(self._enqueue(message, delay, Blocking()))

    async def send_async(self, message: Message, *, delay: timedelta | None = None) -> Message:
        """Do as `enqueue` does, while the event loop goes on; a thread only for PostgreSQL.

        A task that is cancelled sends nothing that was not on its way already.
        """
        wait = None if delay is None else delay // timedelta(milliseconds=1)
        return await self._enqueue(message, wait, InLoop())

    def enqueue_many(self, messages: Iterable[Message]) -> list[Message]:
        """Send many at once, two windows of 500 in flight; returns when every one is safe.

        Each is checked before the first is sent. Raises `NotAllSentError`, which names those that
        are safe and those that are not; each window has the deadline of one `enqueue`.
        """
        batch = list(messages)
        for message in batch:
            self.check(message)
        for message in batch:
            self.emit_before("enqueue", message, None)
        parcels = run(self._sender.send(batch, Blocking()))
        for parcel in parcels:
            if parcel.error is None and parcel.holder is None:
                self.emit_after("enqueue", parcel.message, None)
        sent = [parcel.result for parcel in parcels if parcel.error is None]
        unsent = [(p.message, p.error) for p in parcels if p.error is not None]
        if unsent:
            raise NotAllSentError(sent, unsent)
        return sent

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 30_000) -> QueueConsumer:
        """Consume a declared queue; `timeout` in milliseconds."""
        queue = self.declared[queue_name]
        return QueueConsumer(self._inbox, queue, queue.prefetch or prefetch, timeout / 1000)

    def ensure_queues(self, names: set[str]) -> None:
        """Make queues, once per process, or see that they are there.

        Raises `BrokerUnreachableError` or `TopologyError`.
        """
        for problem in run(self._ensured.make(names, math.inf, Blocking())).values():
            raise problem

    def close(self) -> None:
        """Close both connections in good order."""
        self._inbox.close()
        self._publisher.close()
        self._sender.close()

    def emit_before(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """Run the hooks; those around a job and a worker's life are ours to guard."""
        match signal:
            case "process_message":
                self._before_job(args[0])
            case "worker_shutdown":
                self._inbox.stop_consuming()
                super().emit_before(signal, *args, **kwargs)
            case _:
                super().emit_before(signal, *args, **kwargs)

    def emit_after(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """Store the outcome of a job before anything observes it."""
        if signal == "process_message":
            self._conclude(args[0], kwargs.get("exception"))
        super().emit_after(signal, *args, **kwargs)

    async def _enqueue(self, message: Message, delay: int | None, waiting: Waiting) -> Message:
        if delay:
            span = timedelta(milliseconds=delay)
            return await waiting.database(functools.partial(self._delay, message, span))
        self.check(message)
        self.emit_before("enqueue", message, delay)
        [parcel] = await self._sender.send([message], waiting)
        if parcel.error is not None:
            raise parcel.error
        if parcel.holder is None:
            self.emit_after("enqueue", message, delay)
        return parcel.result

    def _delay(self, message: Message, span: timedelta) -> Message:
        self.check(message)
        parcel = Parcel(message, self.declared[message.queue_name])
        with db.transaction() as conn:
            deposits.lock(conn, [parcel])
            if parcel.holder is None:
                self.store(conn, message, delay=span, at=None, reason="delay")
        return parcel.result

    def check_worker(self, worker: Worker) -> None:
        """Refuse queues no actor is on; make the others."""
        super().check_worker(worker)
        self.ensure_queues(set(worker.consumer_whitelist or self.queues))

    def _before_job(self, delivery: Delivery) -> None:
        """Run the checks before a job; one that cannot be made waits and costs no attempt."""
        if not delivery.channel.is_open:
            delivery.held = True
            raise SkipMessage("its channel was lost before it started; it is delivered again")
        for hook in self._resolved("before_process_message"):
            try:
                self._must(delivery, functools.partial(hook, self, delivery))
            except SkipMessage:
                raise
            except HeldError as err:
                delivery.held = True
                raise SkipMessage(f"a check could not be made: {err}") from err
            except Exception as err:
                logger.exception("a check of %s failed; it goes to the dead queue", delivery)
                delivery.fail()
                raise SkipMessage(f"a check failed: {err}") from err

    def _conclude(self, delivery: Delivery, error: BaseException | None) -> None:
        """Reach the verdict and store what follows; never raises.

        dramatiq would take an exception for a failure of the job, ack it, and lose the thread.
        """
        job = delivery.job
        try:
            actor = self.get_actor(job.message.actor_name)
            outcome = verdict(error, run_of(job), self._retries.policy(actor, job))
            self._must(delivery, lambda: self._settle(job, outcome))
            log(outcome)
        except CopyError as copy:
            logger.info("absorbed: %s", copy)
        except HeldError as held:
            delivery.held = True
            logger.warning("outcome of %s not stored (%s); it is delivered again", delivery, held)
        except Exception:
            delivery.fail()
            logger.exception("outcome of %s cannot be stored; it goes to the dead queue", delivery)

    def _settle(self, job: Job, outcome: Outcome) -> None:
        """Let each middleware write, in one transaction; in none where none has anything to."""
        settling = [
            m for m in self.middleware if isinstance(m, Settling) and m.concerns(job, outcome)
        ]
        if settling:
            with db.transaction() as conn:
                for middleware in settling:
                    middleware.settle(conn, job, outcome)

    def _must(self, delivery: Delivery, step: Any) -> None:
        queue = self.declared[delivery.queue_name]
        must(step, lambda: delivery.is_ours(queue), self._inbox.stopping)


def log(outcome: Outcome) -> None:
    """Say how a job ended, when it was not with success."""
    match outcome.kind:
        case "retry":
            after = outcome.delay.total_seconds()
            logger.warning("failed; next attempt in %.1f s: %s", after, outcome.reason)
        case "snooze":
            logger.info("again in %.1f s: %s", outcome.delay.total_seconds(), outcome.reason)
        case "discarded":
            logger.warning("discarded: %s", outcome.reason)
        case "dead":
            logger.error("dead: %s", outcome.reason)
