"""Running jobs: the checks before a job, and the outcome after it."""

import functools
import logging
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from dramatiq.errors import RateLimitExceeded, Retry
from dramatiq.middleware import Middleware, MiddlewareError, SkipMessage

from workshed import db
from workshed.db import PASSING_ERRORS, Connection
from workshed.errors import WorkshedError
from workshed.jobs import context
from workshed.jobs.control.cancel_rules import CancelRule
from workshed.jobs.signals import Signal, Skipped
from workshed.middleware import (
    INTERRUPTED,
    SUCCEEDED,
    DuplicateDelivery,
    Job,
    LogContext,
    Observer,
    Outcome,
    OutcomeKnown,
    OutcomeMiddleware,
    Retries,
    RunIsolated,
    RunLockLost,
    cancelled_outcome,
    decide_outcome,
)
from workshed.middleware.retrying.retries import run_facts
from workshed.transport.consuming.consumer import ConsumerConnection
from workshed.transport.consuming.delivery import Delivery
from workshed.transport.consuming.in_flight import RunningJobs
from workshed.transport.consuming.settlement import OutcomeNotStoredError, retry_until_stored
from workshed.transport.consuming.work_queue import QueuedJob, WorkQueue

logger = logging.getLogger(__name__)

Hook = Callable[..., None]
T = TypeVar("T")

SHORTEST_STRANGER = timedelta(seconds=2)
LONGEST_STRANGER = timedelta(minutes=1)
ON_PURPOSE = (Signal, SkipMessage, Retry, RateLimitExceeded)
"""Exceptions by which a job chooses its outcome, of Workshed or of dramatiq."""


class JobExecutor:
    """Runs deliveries: checks that each may start, and stores its outcome before it is acked."""

    def __init__(self, inbox: ConsumerConnection, grace_of_strangers: timedelta) -> None:
        """Take the consumer connection, and for how long unknown actors are retried."""
        self.running = RunningJobs()
        self.work: WorkQueue = WorkQueue({}, {})
        self.cancelled: set[str] = set()
        """IDs of cancelled messages that RabbitMQ may have; read from PostgreSQL every second."""
        self.rules: list[CancelRule] = []
        """The current cancellation rules, read likewise."""
        self._inbox = inbox
        self._grace_of_strangers = grace_of_strangers
        self._middleware: list[Middleware] = []
        self._sorted = 0
        self._beginning: list[Callable[[Job], None]] = []
        self._ending: list[Callable[[Job, Outcome], None]] = []
        self._leaving: list[Callable[[], None]] = []
        self._settling: list[OutcomeMiddleware] = []
        self._settling_done: list[OutcomeMiddleware] = []

    def use(self, middleware: list[Middleware]) -> None:
        """Take the broker's middleware, which may grow."""
        self._middleware, self._sorted = middleware, 0
        self._retries = next(m for m in middleware if isinstance(m, Retries))
        self.log = next((m for m in middleware if isinstance(m, LogContext)), LogContext())

    def start(self, delivery: Delivery, hooks: list[Hook], broker: object) -> None:
        """Run the checks before a job; raises `SkipMessage` if the job does not run now.

        A check that PostgreSQL prevents is retried, at no cost in attempts. Any other exception by
        which an application's hook decides is raised as it is, and treated as if the actor had
        raised it.
        """
        self.log.bind(delivery.job)
        delivery.parked = False
        if not delivery.channel.is_open:
            self._give_back(delivery, "its channel was lost before it started")
        if self._inbox.stopping.is_set():
            self._give_back(delivery, "this worker stops")
        if delivery.has_waited_too_long:
            self._give_back(delivery, "it has waited too long here")
        if not self.running.enter(delivery):
            delivery.parked = True
            raise SkipMessage("it runs here already; this delivery waits for its outcome")
        try:
            self._check(delivery, hooks, broker)
        except SkipMessage:
            self._left(delivery, stored=not (delivery.held or delivery.parked or delivery.failed))
            raise
        delivery.begun = True
        job = delivery.job
        context.enter_job(job)
        job.worker_stopping = self._inbox.stopping
        job.started_at, delivery.began = time.time(), time.monotonic()
        self._look_again()
        for began in self._beginning:
            _tell(began, job)

    def conclude(self, delivery: Delivery, actor: Any, error: BaseException | None) -> None:
        """Decide the outcome and store it; never raises.

        dramatiq would treat an exception as a failure of the job, ack it, and lose the thread.
        """
        if delivery.begun:
            delivery.begun = False
            delivery.job.duration_s = time.monotonic() - delivery.began
        stored = (known := delivery.job.outcome) is not None
        if known is not None:
            self._observe(delivery.job, known, error)
            if error is not None and known.kind != "duplicate":
                logger.warning("what it raised after its end is ignored", exc_info=error)
        elif error is None:  # as `verdict` says, whatever the policy
            stored = self._store(delivery, SUCCEEDED)
        else:
            try:
                policy = self._retries.policy(actor, delivery.job)
                outcome = decide_outcome(error, run_facts(delivery.job), policy)
                stored = self._store(delivery, outcome)
            except Exception:
                delivery.fail()
                logger.exception(
                    "could not decide the outcome of %s; it goes to the dead queue", delivery
                )
        context.leave_job()
        self._left(delivery, stored=stored)

    def skipped(self, delivery: Delivery, actor: Any) -> None:
        """Store that an actor raised `SkipMessage`; ignore one that a check raised."""
        if delivery.begun:
            self.conclude(delivery, actor, Skipped("the actor raised SkipMessage"))

    def stranger(self, delivery: Delivery, option: str | None) -> None:
        """Store that this release does not know a job's actor, or one of its options.

        It is retried for a while, because a newer release may be on its way, and then is dead.
        """
        job = delivery.job
        now_ms = int(time.time() * 1000)
        since_ms = job.message.options.get("unknown_actor_since", now_ms)
        age = timedelta(milliseconds=now_ms - since_ms)
        what = f"actor {job.message.actor_name!r}" if option is None else f"option {option!r:.50}"
        reason = f"no {what} is known to this worker"
        if age >= self._grace_of_strangers:
            outcome = Outcome("dead", f"{reason}, nor was it to any other for {age}")
        else:
            wait = min(max(age, SHORTEST_STRANGER), LONGEST_STRANGER)
            outcome = Outcome("unknown_actor", reason, delay=wait)
        with self.log.about(job):
            with db.transaction() as conn:
                outcome = self.settle(conn, job, outcome)
            self._observe(job, outcome)

    def learn_of_cancels(self, ids: set[str], rules: list[CancelRule]) -> list[str]:
        """Take the current cancellations, and notify running jobs; return the IDs of those.

        Only cancellations that are stored at this moment count, not those from before a redrive.
        """
        self.cancelled |= ids
        self.rules = rules
        told = []
        for delivery in self.running:
            job = delivery.job
            if not job.cancelled and (job.message_id in ids or self._rule(job)):
                job.cancelled = True
                told.append(job.message_id)
        return told

    def interrupt(self) -> int:
        """Store that each job which does not end runs again; return how many.

        Only for a process that is about to exit, because their threads are still running.
        """
        return sum(self._cut_off(delivery) for delivery in self.running)

    def _cut_off(self, delivery: Delivery) -> bool:
        with self.log.about(delivery.job):
            try:
                with db.limited_wait(), db.transaction() as conn:
                    self.settle(conn, delivery.job, INTERRUPTED)
            except Exception as err:  # noqa: BLE001 -- unacked, RabbitMQ delivers it again
                logger.warning("%s is cut off, and delivered again: %s", delivery, err)
                return False
            delivery.job.finish(INTERRUPTED)
            self._inbox.give(delivery, "ack")
            self._observe(delivery.job, INTERRUPTED)
            return True

    def give_up(self, delivery: Delivery, actor: Any, error: BaseException) -> None:
        """Store that an attempt whose thread hangs has failed; never raises.

        Only for a process that is about to exit. If it cannot be stored, RabbitMQ delivers the job
        again, and the attempt does not count.
        """
        with self.log.about(delivery.job):
            stored = self._store_failed(delivery, actor, error)
        self._inbox.give(delivery, "ack" if stored else "requeue")
        self._left(delivery, stored=stored)

    def _store_failed(self, delivery: Delivery, actor: Any, error: BaseException) -> bool:
        try:
            policy = self._retries.policy(actor, delivery.job)
            outcome = decide_outcome(error, run_facts(delivery.job), policy)
            with db.limited_wait(), db.transaction() as conn:
                outcome = self.settle(conn, delivery.job, outcome)
        except DuplicateDelivery as copy:
            outcome = Outcome("duplicate", str(copy))
        except Exception:
            logger.exception("%s is given up, and delivered again", delivery)
            return False
        delivery.job.finish(outcome)
        self._observe(delivery.job, outcome)
        return True

    def give_back(self, wanted: Callable[[Any], bool]) -> int:
        """Requeue the waiting deliveries for which `wanted` is true; return how many."""
        waiting: list[Any] = self.work.take_back(wanted)
        for delivery in waiting:
            self._inbox.give(delivery, "requeue")
        return len(waiting)

    def has(self, queue: str) -> bool:
        """Return whether a job of a queue runs or waits in this process."""
        waiting: list[Any] = self.work.waiting()
        return any(delivery.queue_name == queue for delivery in [*waiting, *self.running])

    def leaving(self) -> None:
        """Notify the observers that this process exits now, without a graceful shutdown."""
        self._look_again()
        for leaving in self._leaving:
            _tell(leaving)

    def settle(
        self,
        conn: Connection,
        job: Job,
        outcome: Outcome,
        writers: Sequence[OutcomeMiddleware] | None = None,
    ) -> Outcome:
        """Let each middleware write its part of an outcome; return the final outcome.

        Middleware may replace it: by raising `OutcomeKnown`, before anything is written, or by
        returning one with another delay. `writers`: the middleware to ask, if known already.
        """
        writers = self._writers(job, outcome) if writers is None else writers
        try:
            for middleware in writers:
                outcome = middleware.settle(conn, job, outcome) or outcome
        except OutcomeKnown as instead:
            return self.settle(conn, job, instead.outcome)
        return outcome

    def _check(self, delivery: Delivery, hooks: list[Hook], broker: object) -> None:
        """Run the checks of this process, then those of the middleware."""
        try:
            if self.cancelled or self.rules:
                self._refuse_cancelled(delivery.job)
            with db.limited_wait():
                for hook in hooks:
                    try:
                        hook(broker, delivery)
                    except PASSING_ERRORS as err:
                        again = functools.partial(hook, broker, delivery)
                        retry_until_stored(
                            again, lambda: delivery.is_ours, self._inbox.stopping, after=err
                        )
        except (MiddlewareError, Signal):
            raise
        except RunIsolated as err:
            delivery.parked = delivery.job.isolated = True
            self.work.put_alone(QueuedJob(0, delivery))
            raise SkipMessage("it may have killed its worker; it runs isolated") from err
        except OutcomeKnown as err:
            self._store(delivery, err.outcome)
            raise SkipMessage(err.outcome.reason) from err
        except DuplicateDelivery as copy:
            self._observe(delivery.job, Outcome("duplicate", str(copy)))
            raise SkipMessage(str(copy)) from copy
        except OutcomeNotStoredError as err:
            self._give_back(delivery, f"a check could not be made: {err}")
        except Exception as err:
            logger.exception("a check of %s failed; it goes to the dead queue", delivery)
            delivery.fail()
            raise SkipMessage(f"a check failed: {err}") from err

    def _refuse_cancelled(self, job: Job) -> None:
        # What may have a copy asks PostgreSQL, which also knows what was wanted back since.
        if not job.may_be_duplicate and job.message_id in self.cancelled:
            raise OutcomeKnown(cancelled_outcome())
        if rule := self._rule(job):
            raise OutcomeKnown(cancelled_outcome(rule.id))

    def _rule(self, job: Job) -> CancelRule | None:
        return next((rule for rule in self.rules if rule.fits(job.cancel_traits)), None)

    def _store(self, delivery: Delivery, outcome: Outcome) -> bool:
        """Store an outcome; tell whether it is stored, by this delivery or by a copy."""
        error = None
        try:
            if writers := self._writers(delivery.job, outcome):
                step = functools.partial(self._settle, delivery.job, outcome, writers)
                with db.limited_wait():
                    outcome = self._must(delivery, step)
        except DuplicateDelivery as copy:
            error, outcome = outcome.error, Outcome("duplicate", str(copy))
        except RunLockLost as lost:
            delivery.job.lose_run_lock()
            return self._store(delivery, Outcome("interrupted", str(lost), lost))
        except OutcomeNotStoredError as held:
            delivery.held = True
            logger.warning(
                "outcome of %s not stored (%s); it is delivered again",
                *(delivery, held),
                exc_info=_failure(outcome.error),
            )
            return False
        except Exception as err:
            if outcome is SUCCEEDED and isinstance(err, WorkshedError):
                reason = f"a following message cannot be sent: {err}"
                return self._store(delivery, Outcome("dead", reason, err))
            delivery.fail()
            logger.exception("outcome of %s cannot be stored; it goes to the dead queue", delivery)
            return False
        delivery.job.finish(outcome)
        self._observe(delivery.job, outcome, error)
        return True

    def _observe(self, job: Job, outcome: Outcome, error: BaseException | None = None) -> None:
        """Report the outcome of a delivery, only once if two threads reach its end."""
        if job.observed:
            return
        job.observed = True
        if outcome is not SUCCEEDED:
            log_outcome(outcome, error)
        self._look_again()
        for ended in self._ending:
            _tell(ended, job, outcome)

    def _look_again(self) -> None:
        """Sort the middleware by what it does, if some was added."""
        if len(self._middleware) != self._sorted:
            self._sorted = len(self._middleware)
            observing = [m for m in self._middleware if isinstance(m, Observer)]
            self._beginning = [m.began for m in observing if is_overridden(m, Observer, "began")]
            self._ending = [
                m.ended for m in reversed(observing) if is_overridden(m, Observer, "ended")
            ]
            self._leaving = [m.leaving for m in observing if is_overridden(m, Observer, "leaving")]
            self._settling = [m for m in self._middleware if isinstance(m, OutcomeMiddleware)]
            # Only middleware with its own `concerns` writes anything about a job that succeeded.
            self._settling_done = [
                m for m in self._settling if is_overridden(m, OutcomeMiddleware, "concerns")
            ]

    def _settle(self, job: Job, outcome: Outcome, writers: Sequence[OutcomeMiddleware]) -> Outcome:
        """Write in one transaction."""
        alone = len(writers) == 1 and writers[0].is_one_statement
        with db.autocommit_statement() if alone else db.transaction() as conn:
            return self.settle(conn, job, outcome, writers)

    def _writers(self, job: Job, outcome: Outcome) -> list[OutcomeMiddleware]:
        """Return the middleware that has something to write about an outcome."""
        self._look_again()
        settling = self._settling_done if outcome.kind == "succeeded" else self._settling
        return [m for m in settling if m.concerns(job, outcome)]

    def _must(self, delivery: Delivery, step: Callable[[], T]) -> T:
        return retry_until_stored(step, lambda: delivery.is_ours, self._inbox.stopping)

    def _give_back(self, delivery: Delivery, reason: str) -> None:
        delivery.held = True
        raise SkipMessage(f"{reason}; it is delivered again")

    def _left(self, delivery: Delivery, *, stored: bool) -> None:
        """Settle the deliveries of the same job that arrived meanwhile."""
        for other in self.running.leave(delivery):
            self._inbox.give(other, "ack" if stored else "requeue")


def is_overridden(middleware: Middleware, base: type, name: str) -> bool:
    """Return whether a middleware overrides a method of its base class."""
    return getattr(type(middleware), name) is not getattr(base, name)


def _tell(hook: Callable[..., None], *args: object) -> None:
    try:
        hook(*args)
    except BaseException:  # even a SystemExit, which would end the thread without an ack
        logger.exception("%s failed", hook.__qualname__)


def log_outcome(outcome: Outcome, error: BaseException | None = None) -> None:
    """Log in one line, with the traceback, how a job ended without success.

    A dead job is an error; a failure that is retried or discarded is a warning. `error`: what the
    actor raised, if the outcome has no error itself.
    """
    trace = _failure(outcome.error or error)
    passing = logging.INFO if trace is None else logging.WARNING
    match outcome.kind:
        case "duplicate":
            logger.log(passing, "duplicate: %s", outcome.reason, exc_info=trace)
        case "retry":
            after = outcome.delay.total_seconds()
            logger.warning(
                "failed; next attempt in %.1f s: %s", after, outcome.reason, exc_info=trace
            )
        case "snoozed" | "interrupted" | "unknown_actor":
            after = outcome.delay.total_seconds()
            logger.log(passing, "again in %.1f s: %s", after, outcome.reason, exc_info=trace)
        case "discarded" | "cancelled" | "skipped":
            logger.warning("%s: %s", outcome.kind, outcome.reason, exc_info=trace)
        case "dead" | "expired" | "poison":
            logger.error("%s: %s", outcome.kind, outcome.reason, exc_info=trace)


def _failure(error: BaseException | None) -> BaseException | None:
    """Return an error if its traceback is worth logging.

    A job that snoozes, is discarded or is over a limit does so on purpose. Its traceback is worth
    logging only if another error caused that.
    """
    on_purpose = isinstance(error, ON_PURPOSE) and error.__cause__ is None
    return None if on_purpose else error
