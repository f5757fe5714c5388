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
from workshed.database.postgres import Connection
from workshed.duration import format_rounded
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
    plain_jobs,
)
from workshed.middleware.retrying.retries import run_facts
from workshed.settings import settings
from workshed.transport.consuming.delivery import Delivery
from workshed.transport.consuming.in_flight import RunningJobs
from workshed.transport.consuming.inbox import Inbox
from workshed.transport.consuming.outcome_group import OutcomeGroup
from workshed.transport.consuming.settlement import OutcomeNotStoredError, retry_until_stored
from workshed.transport.consuming.work_queue import QueuedJob, WorkQueue

logger = logging.getLogger(__name__)

Hook = Callable[..., None]
T = TypeVar("T")

MIN_UNKNOWN_ACTOR_DELAY = timedelta(seconds=2)
MAX_UNKNOWN_ACTOR_DELAY = timedelta(minutes=1)
SUSPECT = (
    "two processes ended while it ran, and a web process does not run it again: run `workshed "
    "worker` for its queue, and retry it"
)
"""Why a job is dead that a worker of its own process would run isolated."""
DELIBERATE_ERRORS = (Signal, SkipMessage, Retry, RateLimitExceeded)
"""Exceptions by which a job chooses its outcome, of Workshed or of dramatiq."""


class JobExecutor:
    """Runs deliveries: checks that each may start, and stores its outcome before it is acked."""

    def __init__(self, inbox: Inbox, grace_of_strangers: timedelta) -> None:
        """Take the inbox, and for how long unknown actors are retried."""
        self.running_jobs = RunningJobs()
        self.work: WorkQueue = WorkQueue({}, {})
        self.cancelled_ids: set[str] = set()
        """IDs of cancelled messages that RabbitMQ may have; read from PostgreSQL every second."""
        self.rules: list[CancelRule] = []
        """The current cancellation rules, read likewise."""
        self.runs_suspects = True
        """Whether a job that may have killed its worker may run in this process."""
        self._inbox = inbox
        self._unknown_actor_grace = grace_of_strangers
        self._middleware: list[Middleware] = []
        self._sorted_count = 0
        self._start_hooks: list[Callable[[Job], None]] = []
        self._outcome_hooks: list[Callable[[Job, Outcome], None]] = []
        self._exit_hooks: list[Callable[[], None]] = []
        self._outcome_writers: list[OutcomeMiddleware] = []
        self._success_writers: list[OutcomeMiddleware] = []
        self._plain_success_writers: dict[str, list[OutcomeMiddleware]] = {}
        """By the name of the actor."""
        self._outcome_group = OutcomeGroup()

    def set_middleware(self, middleware: list[Middleware]) -> None:
        """Take the broker's middleware, which may grow."""
        self._middleware, self._sorted_count = middleware, 0
        self._retries = next(m for m in middleware if isinstance(m, Retries))
        self.log = next((m for m in middleware if isinstance(m, LogContext)), LogContext())

    def start(self, delivery: Delivery, hooks: list[Hook], broker: object) -> None:
        """Run the checks before a job; raises `SkipMessage` if the job does not run now.

        A check that PostgreSQL prevents is retried, at no cost in attempts. Any other exception by
        which an application's hook decides is raised as it is, and treated as if the actor had
        raised it.
        """
        self.log.bind(delivery.job)
        delivery.settles_later = False
        if not delivery.channel.is_open:
            self._refuse_start(delivery, "its channel was lost before it started")
        if self._inbox.stopping.is_set():
            self._refuse_start(delivery, "this worker stops")
        if delivery.has_waited_too_long:
            self._refuse_start(delivery, "it has waited too long in this worker")
        if not self.running_jobs.add(delivery):
            delivery.settles_later = True
            raise SkipMessage("it runs here already; this delivery waits for its outcome")
        try:
            self._run_checks(delivery, hooks, broker)
        except SkipMessage:
            self._settle_duplicates(
                delivery,
                stored=not (
                    delivery.requeue_on_settle or delivery.settles_later or delivery.failed
                ),
            )
            raise
        delivery.is_running = True
        job = delivery.job
        context.enter_job(job)
        job.worker_stopping = self._inbox.stopping
        job.started_at, delivery.started_at = time.time(), time.monotonic()
        self._refresh_hooks()
        for began in self._start_hooks:
            try:
                began(job)
            except BaseException:  # even a SystemExit, which would end the thread without an ack
                logger.exception("%s failed", began.__qualname__)

    def conclude(self, delivery: Delivery, actor: Any, error: BaseException | None) -> None:
        """Decide the outcome and store it; never raises.

        dramatiq would treat an exception as a failure of the job, ack it, and lose the thread.
        """
        if delivery.is_running:
            delivery.is_running = False
            delivery.job.duration_s = time.monotonic() - delivery.started_at
        stored = (known := delivery.job.outcome) is not None
        if known is not None:
            self._observe(delivery.job, known, error)
            if error is not None and known.kind != "duplicate":
                logger.warning(
                    "the job has ended; an exception raised after that is ignored", exc_info=error
                )
        elif error is None:  # as `verdict` says, whatever the policy
            writers = self._writers_for_success(delivery.job, actor)
            stored = self._store(delivery, SUCCEEDED, writers)
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
        self._settle_duplicates(delivery, stored=stored)

    def conclude_skip(self, delivery: Delivery, actor: Any) -> None:
        """Store that an actor raised `SkipMessage`; ignore one that a check raised."""
        if delivery.is_running:
            self.conclude(delivery, actor, Skipped("the actor raised SkipMessage"))

    def handle_unknown_actor(self, delivery: Delivery, what: str) -> None:
        """Store that this release does not know `what`: a job's actor, or an option or version.

        It is retried for a while, because a newer release may be on its way, and then is dead.
        """
        job = delivery.job
        now_ms = int(time.time() * 1000)
        since_ms = job.message.options.get("unknown_actor_since", now_ms)
        age = timedelta(milliseconds=now_ms - since_ms)
        reason = f"no {what} is known to this worker"
        if age >= self._unknown_actor_grace:
            outcome = Outcome("dead", f"{reason}; no worker has known it for {age}")
        else:
            wait = min(max(age, MIN_UNKNOWN_ACTOR_DELAY), MAX_UNKNOWN_ACTOR_DELAY)
            outcome = Outcome("unknown_actor", reason, delay=wait)
        with self.log.bind_temporarily(job):
            with db.transaction() as conn:
                outcome = self.write_outcome(conn, job, outcome)
            self._observe(job, outcome)

    def apply_cancellations(self, ids: set[str], rules: list[CancelRule]) -> list[str]:
        """Take the current cancellations, and notify running jobs; return the IDs of those.

        Only cancellations that are stored at this moment count, not those from before a redrive.
        """
        self.cancelled_ids |= ids
        self.rules = rules
        notified = []
        for delivery in self.running_jobs:
            job = delivery.job
            if not job.cancelled and (job.message_id in ids or self._matching_rule(job)):
                job.cancelled = True
                notified.append(job.message_id)
        return notified

    def interrupt(self) -> int:
        """Store that each job which does not end runs again; return how many.

        Only for a process that is about to exit, because their threads are still running.
        """
        return sum(self._store_interrupted(delivery) for delivery in self.running_jobs)

    def _store_interrupted(self, delivery: Delivery) -> bool:
        with self.log.bind_temporarily(delivery.job):
            try:
                with db.limited_wait(), db.transaction() as conn:
                    self.write_outcome(conn, delivery.job, INTERRUPTED)
            except Exception as err:  # noqa: BLE001 -- unacked, RabbitMQ delivers it again
                logger.warning(
                    "the interruption of %s could not be stored; it is delivered again: %s",
                    delivery,
                    err,
                )
                return False
            delivery.job.finish(INTERRUPTED)
            self._inbox.settle_delivery(delivery, "ack")
            self._observe(delivery.job, INTERRUPTED)
            return True

    def abandon(self, delivery: Delivery, actor: Any, error: BaseException) -> None:
        """Store that an attempt whose thread hangs has failed; never raises.

        Only for a process that is about to exit. If it cannot be stored, RabbitMQ delivers the job
        again, and the attempt does not count.
        """
        with self.log.bind_temporarily(delivery.job):
            stored = self._store_failure(delivery, actor, error)
        self._inbox.settle_delivery(delivery, "ack" if stored else "requeue")
        self._settle_duplicates(delivery, stored=stored)

    def _store_failure(self, delivery: Delivery, actor: Any, error: BaseException) -> bool:
        try:
            policy = self._retries.policy(actor, delivery.job)
            outcome = decide_outcome(error, run_facts(delivery.job), policy)
            with db.limited_wait(), db.transaction() as conn:
                outcome = self.write_outcome(conn, delivery.job, outcome)
        except DuplicateDelivery as copy:
            outcome = Outcome("duplicate", str(copy))
        except Exception:
            logger.exception(
                "the failure of %s could not be stored; it is delivered again", delivery
            )
            return False
        delivery.job.finish(outcome)
        self._observe(delivery.job, outcome)
        return True

    def requeue_waiting(self, matches: Callable[[Any], bool]) -> int:
        """Requeue the waiting deliveries for which `matches` is true; return how many."""
        waiting: list[Any] = self.work.remove_waiting(matches)
        for delivery in waiting:
            self._inbox.settle_delivery(delivery, "requeue")
        return len(waiting)

    def has_jobs(self, queue: str) -> bool:
        """Return whether a job of a queue runs or waits in this process."""
        waiting: list[Any] = self.work.list_waiting()
        return any(delivery.queue_name == queue for delivery in [*waiting, *self.running_jobs])

    def on_process_exit(self) -> None:
        """Notify the observers that this process exits now, without a graceful shutdown."""
        self._refresh_hooks()
        for leaving in self._exit_hooks:
            try:
                leaving()
            except BaseException:
                logger.exception("%s failed", leaving.__qualname__)

    def write_outcome(
        self,
        conn: Connection,
        job: Job,
        outcome: Outcome,
        writers: Sequence[OutcomeMiddleware] | None = None,
    ) -> Outcome:
        """Let each middleware write its part of an outcome; return the final outcome.

        Middleware may replace it: by raising `OutcomeKnown`, before anything is written, or by
        returning one with another delay. `writers`: the middleware to ask, if known already.

        Raises `DuplicateDelivery` for a job whose row another worker has taken meanwhile.
        """
        if job.claim is not None and not job.claim.end(conn):
            raise DuplicateDelivery(
                f"the row of generation {job.generation} of {job.message_id} is gone: its outcome "
                "is stored already, or another worker took it, as this one was silent for too long"
            )
        return self._write_parts(conn, job, outcome, writers)

    def _write_parts(
        self,
        conn: Connection,
        job: Job,
        outcome: Outcome,
        writers: Sequence[OutcomeMiddleware] | None,
    ) -> Outcome:
        writers = self._writers_for(job, outcome) if writers is None else writers
        try:
            for middleware in writers:
                outcome = middleware.on_outcome(conn, job, outcome) or outcome
        except OutcomeKnown as instead:
            return self._write_parts(conn, job, instead.outcome, None)
        return outcome

    def _run_checks(self, delivery: Delivery, hooks: list[Hook], broker: object) -> None:
        """Run the checks of this process, then those of the middleware."""
        try:
            if self.cancelled_ids or self.rules:
                self._refuse_cancelled(delivery.job)
            with db.limited_wait():
                for hook in hooks:
                    try:
                        hook(broker, delivery)
                    except db.TRANSIENT_ERRORS as err:
                        again = functools.partial(hook, broker, delivery)
                        retry_until_stored(
                            again,
                            lambda: delivery.can_be_settled,
                            self._inbox.stopping,
                            after=err,
                        )
        except (MiddlewareError, Signal):
            raise
        except RunIsolated as err:
            raise SkipMessage(self._isolate(delivery)) from err
        except OutcomeKnown as err:
            self._store(delivery, err.outcome)
            raise SkipMessage(err.outcome.reason) from err
        except DuplicateDelivery as copy:
            self._observe(delivery.job, Outcome("duplicate", str(copy)))
            raise SkipMessage(str(copy)) from copy
        except OutcomeNotStoredError as err:
            self._refuse_start(delivery, f"a check before the start failed: {err}")
        except Exception as err:
            logger.exception("a check of %s failed; it goes to the dead queue", delivery)
            delivery.fail()
            raise SkipMessage(f"a check failed: {err}") from err

    def _isolate(self, delivery: Delivery) -> str:
        """Let a suspect run isolated, or refuse it for good; return what happens to it."""
        if not self.runs_suspects:
            self._store(delivery, Outcome("poison", SUSPECT))
            return SUSPECT
        delivery.settles_later = delivery.job.isolated = True
        self.work.put_isolated(QueuedJob(0, delivery))
        return "it may have killed its worker; it runs isolated"

    def _refuse_cancelled(self, job: Job) -> None:
        # What may have a copy asks PostgreSQL, which also knows what was wanted back since.
        if not job.may_be_duplicate and job.message_id in self.cancelled_ids:
            raise OutcomeKnown(cancelled_outcome())
        if rule := self._matching_rule(job):
            raise OutcomeKnown(cancelled_outcome(rule.id))

    def _matching_rule(self, job: Job) -> CancelRule | None:
        return next((rule for rule in self.rules if rule.matches(job.cancel_traits)), None)

    def _store(
        self,
        delivery: Delivery,
        outcome: Outcome,
        writers: Sequence[OutcomeMiddleware] | None = None,
    ) -> bool:
        """Store an outcome; return whether it is stored, by this delivery or by a copy.

        `writers`: the middleware that has something to write, if known already.
        """
        error = None
        try:
            if writers is None:
                writers = self._writers_for(delivery.job, outcome)
            if writers:
                step = functools.partial(self._write_in_transaction, delivery.job, outcome, writers)
                with db.limited_wait():
                    outcome = self._retry_until_stored(delivery, step)
        except DuplicateDelivery as copy:
            error, outcome = outcome.error, Outcome("duplicate", str(copy))
        except RunLockLost as lost:
            delivery.job.lose_run_lock()
            return self._store(delivery, Outcome("interrupted", str(lost), lost))
        except OutcomeNotStoredError as held:
            delivery.requeue_on_settle = True
            logger.warning(
                "outcome of %s could not be stored (%s); it is delivered again",
                *(delivery, held),
                exc_info=_loggable_error(outcome.error),
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
        if job.observers_called:
            return
        job.observers_called = True
        if outcome.kind != "succeeded" or (
            logger.isEnabledFor(logging.INFO) and settings().log_jobs
        ):
            log_outcome(job, outcome, error)
        self._refresh_hooks()
        for ended in self._outcome_hooks:
            try:
                ended(job, outcome)
            except BaseException:  # even a SystemExit, which would end the thread without an ack
                logger.exception("%s failed", ended.__qualname__)

    def _refresh_hooks(self) -> None:
        """Sort the middleware by what it does, if some was added."""
        if len(self._middleware) != self._sorted_count:
            self._sorted_count = len(self._middleware)
            observing = [m for m in self._middleware if isinstance(m, Observer)]
            self._start_hooks = [
                m.on_start for m in observing if is_overridden(m, Observer, "on_start")
            ]
            self._outcome_hooks = [
                m.on_outcome_stored
                for m in reversed(observing)
                if is_overridden(m, Observer, "on_outcome_stored")
            ]
            self._exit_hooks = [
                m.on_process_exit
                for m in observing
                if is_overridden(m, Observer, "on_process_exit")
            ]
            self._outcome_writers = [
                m for m in self._middleware if isinstance(m, OutcomeMiddleware)
            ]
            self._plain_success_writers.clear()
            # Only middleware with its own `handles` writes anything about a job that succeeded.
            self._success_writers = [
                m for m in self._outcome_writers if is_overridden(m, OutcomeMiddleware, "handles")
            ]

    def _write_in_transaction(
        self, job: Job, outcome: Outcome, writers: Sequence[OutcomeMiddleware]
    ) -> Outcome:
        """Write in one transaction, which may be that of other jobs, too."""
        if self._outcome_group.write(job, outcome, writers):
            return outcome
        alone = job.claim is None and len(writers) == 1 and writers[0].is_one_statement
        with db.autocommit_statement() if alone else db.transaction() as conn:
            return self.write_outcome(conn, job, outcome, writers)

    def _writers_for(self, job: Job, outcome: Outcome) -> list[OutcomeMiddleware]:
        """Return the middleware that has something to write about an outcome."""
        self._refresh_hooks()
        settling = self._success_writers if outcome.kind == "succeeded" else self._outcome_writers
        return [m for m in settling if m.handles(job, outcome)]

    def _writers_for_success(self, job: Job, actor: Any) -> list[OutcomeMiddleware]:
        """Return what `_writers_for` returns for a success, sooner for a plain job."""
        self._refresh_hooks()
        if not job.is_plain or job.successors or job.return_value is not None:
            return self._writers_for(job, SUCCEEDED)
        asked = self._plain_success_writers.get(actor.actor_name)
        if asked is None:
            asked = [m for m in self._success_writers if plain_jobs.may_write(m, actor)]
            self._plain_success_writers[actor.actor_name] = asked
        return [m for m in asked if m.handles(job, SUCCEEDED)] if asked else asked

    def _retry_until_stored(self, delivery: Delivery, step: Callable[[], T]) -> T:
        return retry_until_stored(step, lambda: delivery.can_be_settled, self._inbox.stopping)

    def _refuse_start(self, delivery: Delivery, reason: str) -> None:
        delivery.requeue_on_settle = True
        raise SkipMessage(f"{reason}; it is delivered again")

    def _settle_duplicates(self, delivery: Delivery, *, stored: bool) -> None:
        """Settle the deliveries of the same job that arrived meanwhile."""
        if delivery.job.claim is not None and delivery.job.claim.is_lost:
            stored = False  # another delivery has the row, and it may be one of these
        for other in self.running_jobs.remove(delivery):
            self._inbox.settle_delivery(other, "ack" if stored else "requeue")


def is_overridden(middleware: Middleware, base: type, name: str) -> bool:
    """Return whether a middleware overrides a method of its base class."""
    return getattr(type(middleware), name) is not getattr(base, name)


def log_outcome(job: Job, outcome: Outcome, error: BaseException | None = None) -> None:
    """Log in one line how a job ended, how long it ran, and how long it had waited.

    A dead job is an error. A failure that is retried or discarded is a warning. Both have the
    traceback. `error`: what the actor raised, if the outcome has no error itself.
    """
    trace = None if outcome.kind == "succeeded" else _loggable_error(outcome.error or error)
    passing = logging.INFO if trace is None else logging.WARNING
    after = format_rounded(outcome.delay)
    said: tuple[int, str]
    match outcome.kind:
        case "succeeded":
            said = logging.INFO, _describe_success(job)
        case "duplicate":
            said = passing, f"duplicate: {outcome.reason}"
        case "retry":
            said = logging.WARNING, f"failed; next attempt in {after}: {outcome.reason}"
        case "snoozed" | "interrupted" | "unknown_actor":
            said = passing, f"again in {after}: {outcome.reason}"
        case "discarded" | "cancelled" | "skipped":
            said = logging.WARNING, f"{outcome.kind}: {outcome.reason}"
        case "dead" | "expired" | "poison":
            said = logging.ERROR, f"{outcome.kind}: {outcome.reason}"
    times = {"ran_s": job.duration_s, "waited_s": job.queue_wait_s}
    known = {name: round(length, 6) for name, length in times.items() if length is not None}
    level, text = said
    logger.log(level, "%s", text, exc_info=trace, extra={"outcome": outcome.kind, **known})


def _describe_success(job: Job) -> str:
    ran, waited = job.duration_s, job.queue_wait_s
    text = "succeeded" if ran is None else f"succeeded in {format_rounded(timedelta(seconds=ran))}"
    if waited is None:
        return text
    return f"{text}, after a wait of {format_rounded(timedelta(seconds=waited))}"


def _loggable_error(error: BaseException | None) -> BaseException | None:
    """Return an error if its traceback is worth logging.

    A job that snoozes, is discarded or is over a limit does so on purpose. Its traceback is worth
    logging only if another error caused that.
    """
    on_purpose = isinstance(error, DELIBERATE_ERRORS) and error.__cause__ is None
    return None if on_purpose else error
