"""A broker for tests: the schedule is its queue, and the calling thread is its worker."""

import functools
import sys
from collections.abc import Generator, Iterable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, NoReturn

import dramatiq
from dramatiq.middleware import SkipMessage
from dramatiq.worker import Worker

from workshed import db, logs
from workshed.db import Connection
from workshed.errors import WorkshedError
from workshed.jobs import context
from workshed.middleware import Job, Outcome, OutcomeMiddleware
from workshed.transport.amqp.acks import AckingChannel
from workshed.transport.amqp.codec import RawDelivery
from workshed.transport.base import WorkshedBroker
from workshed.transport.consuming.consumer import ConsumerConnection
from workshed.transport.consuming.delivery import Delivery, receive_letter
from workshed.transport.consuming.execution import JobExecutor
from workshed.transport.executing_broker import ExecutingBroker
from workshed.transport.messages.envelope import message_properties
from workshed.transport.publishing.outgoing import Message

Actor = dramatiq.Actor[..., Any]
Error = BaseException | type[BaseException]

REPLACED_METHODS = ("enqueue", "enqueue_at", "enqueue_many", "send_async", "write_outcome")
"""The methods of a broker that a program and its actors call."""
UNKNOWN_ACTOR_GRACE = timedelta(hours=1)


@dataclass(slots=True)
class KitRun:
    """The result of one run of a job."""

    message: Message
    outcome: Outcome
    result: Any = None

    @property
    def title(self) -> str:
        """The job as a call, as dramatiq writes it."""
        return str(self.message)


class SimulatedCrash(BaseException):
    """The process of a job crashes here: no outcome is stored, and RabbitMQ redelivers the job."""


class NotStoredError(WorkshedError):
    """A job's outcome could not be stored; with a worker, the job would go to the dead queue."""


class KitDelivery(Delivery):
    """A job that the test's own thread runs."""

    def __init__(
        self, message: Message, broker: "FakeBroker", *, redelivered: bool = False, **headers: bool
    ) -> None:
        """Set the `headers` of RabbitMQ that say how the message was sent."""
        channel = AckingChannel(SimpleNamespace(is_open=True))
        letter = RawDelivery(
            0, redelivered, properties=message_properties(message, **headers), body=b""
        )
        queue = broker.declared_queues[message.queue_name]
        received = receive_letter(message, queue, channel, letter)
        self.storage_error: BaseException | None = None
        """Why its outcome could not be stored."""
        super().__init__(received.job, channel, received.tag, received.timeout_s)

    @property
    def can_be_settled(self) -> bool:
        """Return False, so that no step is retried: waiting would cure no error here."""
        return False

    @property
    def requeue_on_settle(self) -> bool:
        """Return whether a worker would requeue it."""
        return self._held

    @requeue_on_settle.setter
    def requeue_on_settle(self, value: bool) -> None:
        self._held = value
        self.storage_error = sys.exc_info()[1] if value else None

    def fail(self) -> None:
        """Keep the error for the test."""
        self.storage_error = sys.exc_info()[1]
        super().fail()


class OutcomeSpy(OutcomeMiddleware):
    """Remembers the outcome of the last run.

    *Order:* last, so that all others have written what it sees.
    """

    def __init__(self) -> None:
        self._outcome: Outcome | None = None

    def handles(self, job: Job, outcome: Outcome) -> bool:  # noqa: ARG002 -- of every job
        """Return True: it needs every outcome."""
        return True

    def on_outcome(self, conn: Connection, job: Job, outcome: Outcome) -> None:  # noqa: ARG002
        """Remember the outcome."""
        self._outcome = outcome

    def pop_outcome(self) -> Outcome:
        """Return the outcome; a run that stored none was a duplicate."""
        found = self._outcome
        self.reset()
        return found or Outcome("discarded", "a copy of it had already run")

    def reset(self) -> None:
        """Forget the outcome."""
        self._outcome = None


class FakeBroker(ExecutingBroker):
    """Stores sent messages as rows of the schedule, and runs a row when a test asks for it.

    Checks, middleware and outcomes are those of a worker; only RabbitMQ is missing.
    """

    def __init__(self, other: WorkshedBroker) -> None:
        """Replace a program's broker: share its actors, queues and middleware."""
        super().__init__(other.declared_queues, [])
        share_actors(self, other)
        self._outcome_spy = OutcomeSpy()
        self.middleware = [*other.middleware, self._outcome_spy]
        self._reset_worker()

    def enqueue(self, message: Message, *, delay: int | None = None) -> Message:
        """Store a message, due now or after `delay` milliseconds."""
        if (conn := self.open_transaction()) is not None:
            return self._send_with(conn, [message], delay)[0]
        return self._store_delayed(message, delay or 0)

    @db.move_to_joined_thread
    def enqueue_many(self, messages: Iterable[Message]) -> list[Message]:
        """Store messages, all of them or none."""
        if (conn := self.open_transaction()) is not None:
            return self._send_with(conn, messages, None)
        batch = list(messages)
        with db.transaction() as conn, db.join_transaction(conn):
            return [self.enqueue(message) for message in batch]

    def _send_with(
        self, conn: Any, messages: Iterable[Message], delay: int | None
    ) -> list[Message]:
        """Store messages in a transaction of Django, whose commit is then one of the kit."""
        sent = self.send_on(conn, messages, delay=delay)
        if announce := getattr(db.get_pool(), "on_commit", None):
            conn.on_commit(announce)
        return sent

    async def send_async(self, message: Message, *, delay: timedelta | None = None) -> Message:
        """Store a message."""
        return self._store_delayed(
            message, 0 if delay is None else delay // timedelta(milliseconds=1)
        )

    def process(self, message: Message, error: Error | None = None) -> KitRun:
        """Run a job now, in this thread, and store its outcome; or fail with `error` instead.

        Raises `NotStoredError` if the outcome could not be stored.
        """
        # As if a relay had sent it, so that deduplication treats it as a possible copy.
        delivery = KitDelivery(message, self, outbox=True)
        around = nullcontext() if error is None else self._inject_error(message, error)
        return self._run_delivery(delivery, around)

    def deliver(
        self, message: Message, around: AbstractContextManager[None], *, again: bool
    ) -> KitRun:
        """Run a job as one that was sent directly, delivered for the first time or `again`.

        The actor runs inside `around`. If that raises `SimulatedCrash`, the job's process has
        crashed: the error is raised here, and the next job runs as in a new process.
        """
        return self._run_delivery(KitDelivery(message, self, redelivered=again), around)

    def _run_delivery(self, delivery: KitDelivery, around: AbstractContextManager[None]) -> KitRun:
        message, result = delivery.job.message, None
        shared = self.find_test_transaction()
        actor = self.get_actor(message.actor_name)
        try:
            self.emit_before("process_message", delivery)
            with nullcontext() if shared is None else shared.keep_usable(), around:
                result = actor(*delivery.args, **delivery.kwargs)
            self.emit_after("process_message", delivery, result=result)
        except SkipMessage:
            self.emit_after("skip_message", delivery)
        except SimulatedCrash:
            self._reset_worker()
            raise
        except BaseException as err:
            self.emit_after("process_message", delivery, exception=err)
            if isinstance(err, (KeyboardInterrupt, SystemExit)):
                raise
        if delivery.failed or delivery.requeue_on_settle:
            raise NotStoredError(
                f"the outcome of {message} could not be stored"
            ) from delivery.storage_error
        return KitRun(message, self._outcome_spy.pop_outcome(), result)

    @contextmanager
    def _inject_error(self, message: Message, error: Error) -> Generator[None]:
        """Replace the actor's own function, inside its wrappers, by one that fails."""
        actor = self.get_actor(message.actor_name)
        function = actor.fn

        @functools.wraps(function)
        def fail(*_: object, **__: object) -> NoReturn:
            raise error

        actor.fn = fail
        self.emit_before("declare_actor", actor)
        try:
            yield
        finally:
            actor.fn = function

    def _reset_worker(self) -> None:
        """Reset to a worker that has just started: nothing runs, and this thread has no job."""
        context.leave_job()
        logs.log_subject.set(None)
        self._outcome_spy.reset()
        self._executor = JobExecutor(ConsumerConnection([], "test kit"), UNKNOWN_ACTOR_GRACE)
        self._executor.set_middleware(self.middleware)

    @property
    def _execution(self) -> JobExecutor:
        return self._executor

    def check_worker(self, worker: Worker) -> NoReturn:  # noqa: ARG002 -- no worker can run here
        """Refuse, because nothing can be consumed here."""
        self.consume()

    def consume(self, *_: object, **__: object) -> NoReturn:
        """Refuse, because nothing can be consumed here."""
        raise WorkshedError("the test kit has no RabbitMQ: `jobs.drain()` runs what is due")


def share_actors(new: WorkshedBroker, other: WorkshedBroker) -> None:
    """Give a broker the actors and queues of another, including those declared later."""
    names = ("actors", "queues", "declared_queues", "actor_options", "added_options")
    for name in (*names, "_signatures", "_parameter_names", "_checks", "_added_queues"):
        setattr(new, name, getattr(other, name))
    new.find_transaction = other.find_transaction
    new.find_test_transaction = other.find_test_transaction


@contextmanager
def replace_broker(other: WorkshedBroker, new: WorkshedBroker) -> Generator[None]:
    """Redirect messages sent through `other` to `new` inside the block.

    Replaces methods instead of the object, because modules and actors hold references to it.
    """
    for name in REPLACED_METHODS:
        setattr(other, name, getattr(new, name))
    other.is_replaced = True
    try:
        yield
    finally:
        other.is_replaced = False
        for name in REPLACED_METHODS:
            delattr(other, name)
