"""Drop copies of a job whose outcome is stored, and isolate jobs that kill their worker."""

import os
import socket
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import dramatiq
from dramatiq.broker import Broker, MessageProxy

from workshed import db
from workshed.database.call_group import CallGroup
from workshed.database.postgres import Connection
from workshed.jobs.idempotency import completed_generations, starts
from workshed.jobs.idempotency.completed_generations import GenerationEnd
from workshed.jobs.idempotency.starts import DeliveryState
from workshed.jobs.tags import CancelTraits
from workshed.middleware.delivery.cancellation import cancelled_outcome
from workshed.middleware.job import (
    DuplicateDelivery,
    Job,
    Outcome,
    OutcomeKnown,
    OutcomeMiddleware,
    RunIsolated,
)
from workshed.middleware.observer import Observer


class Deduplication(OutcomeMiddleware, Observer):
    """Let each generation of a job take effect once.

    Delivery is at-least-once, so RabbitMQ may deliver a message twice. A delivery that may have a
    copy checks for a stored outcome before it runs, and claims the generation when it stores its
    own. If two copies run at the same time, the second to end rolls back everything that it would
    have written. This does not cover external calls, so make your jobs idempotent.

    A redelivered job records its start. If an earlier start has no outcome, the job may have killed
    its worker: it runs isolated, and after two isolated starts without an outcome it is dead.

    *Order:* first, so that nothing is written for a copy.
    """

    def __init__(self, retention: timedelta) -> None:
        """Keep `retention`, for which outcomes are remembered."""
        self.retention = retention
        self._states = CallGroup(load_states)

    def checks_plain_jobs(self, actor: dramatiq.Actor[..., Any]) -> bool:
        """Return False: only what may have a copy is checked."""
        return False

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        """Skip a job that has its outcome, end one that must not run, and record a start."""
        job: Job = message.job
        if not job.may_be_duplicate:
            return
        self._reject_beyond_retention(job)
        if not job.redelivered:
            run = (job.message_id, job.generation, job.cancel_traits)
            raise_if_not_runnable(job, self._states.call(run) or load_states([run])[0])
            return
        with db.transaction() as conn:
            raise_if_not_runnable(
                job, starts.load_state(conn, job.message_id, job.generation, job.cancel_traits)
            )
            host, pid = socket.gethostname(), os.getpid()
            starts.record_start(
                conn, job.message_id, job.generation, isolated=job.isolated, host=host, pid=pid
            )

    def writes_plain_success(self, actor: dramatiq.Actor[..., Any]) -> bool:
        """Return False: only copies and retries are counted."""
        return False

    def handles(self, job: Job, outcome: Outcome) -> bool:
        """Settle where a copy may exist, and where an outcome is written at all."""
        return job.may_be_duplicate or bool(job.successors) or outcome.kind != "succeeded"

    def on_outcome(self, conn: Connection, job: Job, outcome: Outcome) -> None:
        """Raise `DuplicateDelivery` if another copy was first."""
        if not completed_generations.complete_generation(conn, job.message_id, job.generation):
            raise has_outcome(job)

    def can_be_grouped(self, job: Job, outcome: Outcome) -> bool:
        """Return whether the job has succeeded."""
        return outcome.kind == "succeeded"

    def on_grouped_end(self, job: Job, end: GenerationEnd) -> None:
        """Do as `on_outcome`."""
        if not end.is_first:
            raise has_outcome(job)

    def on_outcome_stored(self, job: Job, outcome: Outcome) -> None:
        """Delete the start of a copy: it was committed before the copy was refused."""
        if job.redelivered and outcome.kind == "duplicate":
            with db.limited_wait(), db.autocommit_statement() as conn:
                starts.delete_start(conn, job.message_id)

    def _reject_beyond_retention(self, job: Job) -> None:
        """Refuse a copy so old that its outcome may already have been deleted."""
        if job.published_s is None or job.claim is not None:  # its row says that it has not run
            return
        if problem := find_age_problem(job.published_s, self.retention):
            raise OutcomeKnown(Outcome("dead", problem))


def find_age_problem(published_s: float, retention: timedelta) -> str | None:
    """Return why a copy that was published then must not run; `None` if it may."""
    age = timedelta(seconds=time.time() - published_s)
    if age <= retention:
        return None
    return (
        f"published {age.days} days ago, but outcomes are kept for {retention.days} days: "
        "whether it has already run is unknown"
    )


def load_states(runs: Sequence[tuple[str, int, CancelTraits]]) -> list[DeliveryState]:
    """Read the state of several deliveries."""
    with db.autocommit_statement() as conn:
        return starts.load_states(conn, runs)


def has_outcome(job: Job) -> DuplicateDelivery:
    """Return the error of a run that ends after another copy."""
    return DuplicateDelivery(
        f"generation {job.generation} of {job.message_id} already has an outcome"
    )


def raise_if_not_runnable(job: Job, past: DeliveryState) -> None:
    """Raise if this delivery must not run, or must run isolated."""
    if past.is_completed:
        raise DuplicateDelivery(f"a copy of {job.message_id}, which already has an outcome")
    if past.cancelled:
        raise OutcomeKnown(cancelled_outcome())
    if past.rule is not None:
        raise OutcomeKnown(cancelled_outcome(past.rule))
    if past.is_poison:
        times = (
            f"started {past.isolated_starts} times as the only job of its process, and ended "
            "none of them"
        )
        raise OutcomeKnown(Outcome("poison", f"killed its worker: {times}"))
    if past.started and not job.isolated:
        raise RunIsolated
