"""A broker for tests: the schedule is its queue, and the thread that asks is its worker."""

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
from workshed.transport.consuming.delivery import Delivery
from workshed.transport.consuming.execution import JobExecutor
from workshed.transport.executing import ExecutingBroker
from workshed.transport.messages.envelope import message_properties
from workshed.transport.publishing.outgoing import Message

Actor = dramatiq.Actor[..., Any]
Error = BaseException | type[BaseException]

TAKEN_OVER = ("enqueue", "enqueue_many", "send_async", "settle")
"""What a program calls on its broker, and what its actors do."""
GRACE_OF_STRANGERS = timedelta(hours=1)


@dataclass(slots=True)
class KitRun:
    """What became of one run of a job."""

    message: Message
    outcome: Outcome
    result: Any = None

    @property
    def title(self) -> str:
        """The job as a call, as dramatiq writes it."""
        return str(self.message)


class SimulatedCrash(BaseException):
    """The process of a job ends here: no outcome is stored, and RabbitMQ delivers it again."""


class NotStoredError(WorkshedError):
    """The outcome of a job could not be stored; a worker would put it into the dead queue."""


class KitDelivery(Delivery):
    """A job in the hands of the test's own thread."""

    def __init__(
        self, message: Message, broker: "FakeBroker", *, redelivered: bool = False, **headers: bool
    ) -> None:
        """Let `headers` say which way it came, as RabbitMQ's do."""
        channel = AckingChannel(SimpleNamespace(is_open=True))
        letter = RawDelivery(
            0, redelivered, properties=message_properties(message, **headers), body=b""
        )
        queue = broker.declared[message.queue_name]
        self.trouble: BaseException | None = None
        """Why its outcome could not be stored."""
        super().__init__(message, queue, channel, letter)

    @property
    def is_ours(self) -> bool:
        """Tell that no step is repeated: nothing that has failed here would be cured by waiting."""
        return False

    @property
    def held(self) -> bool:
        """Tell whether a worker would give it back, to be delivered again."""
        return self._held

    @held.setter
    def held(self, value: bool) -> None:
        self._held = value
        self.trouble = sys.exc_info()[1] if value else None

    def fail(self) -> None:
        """Keep why; the test is told."""
        self.trouble = sys.exc_info()[1]
        super().fail()


class OutcomeSpy(OutcomeMiddleware):
    """Remembers the outcome of the run that ended last.

    *Order:* last, so that what it has seen was written by all others.
    """

    def __init__(self) -> None:
        """Nothing has run."""
        self._outcome: Outcome | None = None

    def concerns(self, job: Job, outcome: Outcome) -> bool:  # noqa: ARG002 -- of every job
        """Every outcome."""
        return True

    def settle(self, conn: Connection, job: Job, outcome: Outcome) -> None:  # noqa: ARG002
        """Remember it."""
        self._outcome = outcome

    def asked(self) -> Outcome:
        """Return the outcome; a run that stored none was one of a copy."""
        found = self._outcome
        self.forget()
        return found or Outcome("discarded", "a copy of it had run already")

    def forget(self) -> None:
        """Forget it."""
        self._outcome = None


class FakeBroker(ExecutingBroker):
    """Stores what is sent as rows of the schedule, and runs a row when it is told to.

    Checks, middleware, verdict and outcome are those of a worker; only RabbitMQ is not there.
    """

    def __init__(self, other: WorkshedBroker) -> None:
        """Take the place of a program's broker: its actors, its queues, its middleware."""
        super().__init__(other.declared, [])
        share_actors(self, other)
        self._witness = OutcomeSpy()
        self.middleware = [*other.middleware, self._witness]
        self._begin()

    def enqueue(self, message: Message, *, delay: int | None = None) -> Message:
        """Store a message, due now or after `delay` milliseconds."""
        return self._later(message, delay or 0)

    def enqueue_many(self, messages: Iterable[Message]) -> list[Message]:
        """Store messages, all of them or none."""
        batch = list(messages)
        with db.transaction() as conn, db.join_transaction(conn):
            return [self.enqueue(message) for message in batch]

    async def send_async(self, message: Message, *, delay: timedelta | None = None) -> Message:
        """Store a message."""
        return self._later(message, 0 if delay is None else delay // timedelta(milliseconds=1))

    def process(self, message: Message, error: Error | None = None) -> KitRun:
        """Run a job now, in this thread, and store its outcome; or fail with `error` instead.

        Raises `NotStoredError` where the outcome could not be stored.
        """
        # As a relay sends it: it may have copies, so deduplication looks.
        delivery = KitDelivery(message, self, outbox=True)
        around = nullcontext() if error is None else self._failing(message, error)
        return self._work(delivery, around)

    def deliver(
        self, message: Message, around: AbstractContextManager[None], *, again: bool
    ) -> KitRun:
        """Run a job as one that was sent directly, and delivered for the first time or `again`.

        The actor runs inside `around`. Where that raises `SimulatedCrash` the process of the job
        has ended: the same is raised here, and the next job runs in another one.
        """
        return self._work(KitDelivery(message, self, redelivered=again), around)

    def _work(self, delivery: KitDelivery, around: AbstractContextManager[None]) -> KitRun:
        message, result = delivery.job.message, None
        actor = self.get_actor(message.actor_name)
        try:
            self.emit_before("process_message", delivery)
            with around:
                result = actor(*delivery.args, **delivery.kwargs)
            self.emit_after("process_message", delivery, result=result)
        except SkipMessage:
            self.emit_after("skip_message", delivery)
        except SimulatedCrash:
            self._begin()
            raise
        except BaseException as err:
            self.emit_after("process_message", delivery, exception=err)
            if isinstance(err, (KeyboardInterrupt, SystemExit)):
                raise
        if delivery.failed or delivery.held:
            raise NotStoredError(
                f"the outcome of {message} could not be stored"
            ) from delivery.trouble
        return KitRun(message, self._witness.asked(), result)

    @contextmanager
    def _failing(self, message: Message, error: Error) -> Generator[None]:
        """Put a function that fails where the actor's own is: inside what is wrapped around it."""
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

    def _begin(self) -> None:
        """Be a worker that has just started: nothing runs, and this thread knows of no job."""
        context.leave_job()
        logs.subject.set(None)
        self._witness.forget()
        self._execution = JobExecutor(ConsumerConnection([], "test kit"), GRACE_OF_STRANGERS)
        self._execution.use(self.middleware)

    def check_worker(self, worker: Worker) -> NoReturn:  # noqa: ARG002 -- none can work here
        """Refuse: nothing can be consumed here."""
        self.consume()

    def consume(self, *_: object, **__: object) -> NoReturn:
        """Refuse: nothing can be consumed here."""
        raise WorkshedError("the test kit has no RabbitMQ: `jobs.drain()` runs what is due")


def share_actors(new: WorkshedBroker, other: WorkshedBroker) -> None:
    """Let a broker know the actors and queues of another, also those declared later."""
    names = ("actors", "queues", "declared", "actor_options", "added_options")
    for name in (*names, "_signatures", "_names", "_checks", "_added"):
        setattr(new, name, getattr(other, name))


@contextmanager
def in_place_of(other: WorkshedBroker, new: WorkshedBroker) -> Generator[None]:
    """Let what is sent through `other` go to `new` inside the block.

    By its methods and not by itself: modules and actors hold on to the object.
    """
    for name in TAKEN_OVER:
        setattr(other, name, getattr(new, name))
    try:
        yield
    finally:
        for name in TAKEN_OVER:
            delattr(other, name)
