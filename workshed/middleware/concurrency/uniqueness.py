"""Allow one queued or one running job per key."""

import functools
import logging
import os
import socket
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import dramatiq
from dramatiq.broker import Broker, MessageProxy
from dramatiq.worker import Worker

from workshed import db
from workshed.database.postgres import Connection
from workshed.errors import DuplicateJobError
from workshed.jobs.idempotency.completed_generations import GenerationEnd
from workshed.jobs.locks import run_locks, unique
from workshed.jobs.locks.run_locks import RunLock
from workshed.jobs.locks.unique import KEY_RETRY_DELAY, KeyClaim
from workshed.metrics import meters
from workshed.middleware.concurrency.lease_renewal import LeaseRenewer
from workshed.middleware.job import Job, Outcome, OutcomeKnown, OutcomeMiddleware, RunLockLost
from workshed.middleware.job_state import UniqueClaim
from workshed.middleware.options.unique import Unique

logger = logging.getLogger(__name__)

Function = Callable[..., Any]


class Uniqueness(OutcomeMiddleware):
    """Acquire, pass on and release the locks of unique jobs.

    If a strategy holds the key from the send, the key is acquired in the transaction that stores
    the job. It moves with the job through retries, and only the job that holds it releases it. A
    job whose key was lost, for example because it expired, still runs.

    If a strategy holds the key while the job runs, the lock is a lease. A process that was
    suspended for longer than the lease stores no outcome, and its job runs again.

    *Order:* below `OncePerMessage` and `TimeLimit`, so that its wrapper encloses theirs.
    *Options:* `unique=` (a `Unique`); on a message `unique_key=`, `unique_for=` (milliseconds),
    `on_conflict=`.
    """

    def __init__(self) -> None:
        self._renewal = LeaseRenewer("run locks", run_locks.renew_locks)
        self._conflict = threading.local()

    @property
    def actor_options(self) -> set[str]:
        """The uniqueness rule of an actor."""
        return {"unique"}

    def before_declare_actor(self, broker: Broker, actor: dramatiq.Actor[..., Any]) -> None:
        """Refuse a rule that cannot work; wrap the function, whose signature and name stay."""
        rule = actor.options.get("unique")
        if rule is None:
            return
        if not isinstance(rule, Unique):
            raise ValueError(f"{actor.actor_name}: unique={rule!r} is not a Unique(…)")  # noqa: TRY004 -- as for every option
        rule.check(actor)
        if rule.locks_while_running:
            actor.fn = self._wrap(actor.fn)

    def before_enqueue(
        self, broker: Broker, message: dramatiq.Message[Any], delay: int | None
    ) -> None:
        """Write the key into the message; it is acquired when the message is stored."""
        actor = broker.actors.get(message.actor_name)
        rule: Unique | None = actor.options.get("unique") if actor is not None else None
        if actor is None or rule is None or not rule.locks_on_enqueue:
            return
        message.options.setdefault("unique_key", rule.key_of(actor, message))
        message.options.setdefault("on_conflict", rule.enqueue_conflict)
        if rule.unique_for is not None:
            milliseconds = rule.unique_for // timedelta(milliseconds=1)
            message.options.setdefault("unique_for", milliseconds)

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        """Start renewing run locks."""
        self._renewal.start()

    def checks_plain_jobs(self, actor: dramatiq.Actor[..., Any]) -> bool:
        """Return whether its jobs are unique."""
        return actor.options.get("unique") is not None

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        """Acquire the key that the job waited for, or its run lock; release a key that ends now."""
        job: Job = message.job
        actor = broker.get_actor(message.actor_name)
        rule = actor.options.get("unique")
        if rule is None and "unique_key" not in job.message.options:
            return
        claim = job.unique = job.unique or UniqueClaim(rule)
        waits = bool(job.message.options.get("awaiting_unique_key"))
        self._conflict.__dict__.clear()
        if rule is not None and rule.locks_while_running and claim.run_lock is None:
            claim.run_lock = run_lock_for(actor, rule, job)
        # Of a job with limits it ends with these, which may yet keep it from its start.
        ends = rule is not None and rule.releases_on_start and "limit" not in actor.options
        if not (waits or claim.run_lock or ends):
            claim.holds_key = has_key(job)
            return
        with db.transaction() as conn:
            if waits:
                claim_awaited_key(conn, job)
            if claim.run_lock is not None:
                self._acquire_run_lock(conn, claim, claim.run_lock)
            if ends:
                unique.release_locks(conn, job.message_id, job.generation)
        claim.holds_key = has_key(job)
        job.message.options.pop(
            "awaiting_unique_key", None
        )  # it had it: a later generation waits for none
        if claim.run_lock is not None:
            self._renewal.add(claim.run_lock.token)

    def after_process_message(
        self, broker: Broker, message: MessageProxy, *, result: Any = None, exception: Any = None
    ) -> None:
        """Stop renewing its run lock; it is free, or will be when its lease ends."""
        self._stop_renewal(message.job)

    def after_skip_message(self, broker: Broker, message: MessageProxy) -> None:
        """Do the same for a job that a later check has stopped."""
        self._stop_renewal(message.job)

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """Stop renewing, because no job runs any more."""
        self._renewal.stop()

    def writes_plain_success(self, actor: dramatiq.Actor[..., Any]) -> bool:
        """Return whether its jobs are unique."""
        return actor.options.get("unique") is not None

    def handles(self, job: Job, outcome: Outcome) -> bool:
        """Return whether the job has a key or a run lock."""
        has_run_lock = job.unique is not None and job.unique.run_lock is not None
        return has_run_lock or "unique_key" in job.message.options

    def on_outcome(self, conn: Connection, job: Job, outcome: Outcome) -> None:
        """Release its run lock; release its key when it ends, or move it to the next generation."""
        claim = job.unique or UniqueClaim(None)
        if claim.run_lock is not None and not run_locks.release_lock(conn, claim.run_lock):
            raise RunLockLost(claim.run_lock.key)
        if "unique_key" not in job.message.options:
            return
        if not outcome.is_final:
            held = unique.move_locks(conn, job.message_id, job.generation + 1)
        elif claim.is_released_at_end:
            held = unique.release_locks(conn, job.message_id, job.generation)
        else:
            held = 1
        if not held and claim.holds_key:
            report_lost_key(job)

    def can_be_grouped(self, job: Job, outcome: Outcome) -> bool:
        """Return whether the job may have a copy and ends, and only its key is released."""
        claim = job.unique or UniqueClaim(None)
        ends = job.may_be_duplicate and outcome.is_final
        return ends and claim.run_lock is None and claim.is_released_at_end

    def on_grouped_end(self, job: Job, end: GenerationEnd) -> None:
        """Report a key that it had lost."""
        if not end.released_keys and job.unique is not None and job.unique.holds_key:
            report_lost_key(job)

    def _stop_renewal(self, job: Job) -> None:
        if job.unique is not None and job.unique.run_lock is not None:
            self._renewal.drop(job.unique.run_lock.token)

    def _acquire_run_lock(self, conn: Connection, claim: UniqueClaim, turn: RunLock) -> None:
        """Take the turn; raises, or lets the function raise, what follows when another has it."""
        holder = run_locks.acquire_lock(conn, turn)
        if holder is None:
            return
        claim.run_lock = None
        reason = f"job {holder} is running with the key {turn.key}"
        match claim.rule.run_conflict if claim.rule is not None else "reschedule":
            case "raise":
                self._conflict.error = DuplicateJobError(turn.key, holder)
            case "log":
                raise OutcomeKnown(Outcome("discarded", reason))
            case _:
                raise OutcomeKnown(Outcome("snoozed", reason, delay=KEY_RETRY_DELAY))

    def _wrap(self, function: Function) -> Function:
        @functools.wraps(function)
        def in_turn(*args: Any, **kwargs: Any) -> Any:
            error = self._conflict.__dict__.pop("error", None)
            if error is not None:
                raise error
            return function(*args, **kwargs)

        return in_turn


def report_lost_key(job: Job) -> None:
    """Count and log that a job had lost its key before it ended."""
    meters.UNIQUE_LOCK_LOST.add(job.message.actor_name)
    logger.warning(
        "ran without its unique key %r, which had expired or was released manually",
        job.message.options["unique_key"],
    )


def run_lock_for(actor: dramatiq.Actor[..., Any], rule: Unique, job: Job) -> RunLock:
    """Ask for the right to run this start of a job."""
    return RunLock(
        key=rule.key_of(actor, job.message),
        token=uuid4(),
        message_id=job.message_id,
        generation=job.generation,
        actor=actor.actor_name,
        queue=job.message.queue_name,
        host=socket.gethostname(),
        pid=os.getpid(),
    )


def claim_awaited_key(conn: Connection, job: Job) -> None:
    """Acquire the key of a job that was sent while another job held it.

    Raises `OutcomeKnown` if a job still holds it.
    """
    options = job.message.options
    span = options.get("unique_for")
    claim = KeyClaim(
        key=options["unique_key"],
        message_id=job.message_id,
        generation=job.generation,
        actor=job.message.actor_name,
        queue=job.message.queue_name,
        span=None if span is None else timedelta(milliseconds=span),
    )
    holder = unique.acquire_key(conn, claim)
    if holder != job.message_id:
        reason = f"job {holder} holds the unique key {claim.key}"
        raise OutcomeKnown(Outcome("snoozed", reason, delay=KEY_RETRY_DELAY))


def has_key(job: Job) -> bool:
    """Return whether a job that starts has a key until it ends."""
    rule = None if job.unique is None else job.unique.rule
    until_executed = rule is None or rule.strategy == "until_executed"
    return until_executed and "unique_key" in job.message.options
