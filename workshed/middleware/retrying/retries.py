"""Schedule the next attempt of a failed job, or mark the job dead."""

import time
from datetime import timedelta
from typing import TypeVar

import dramatiq
import orjson
from dramatiq.broker import Broker

from workshed.database.postgres import Connection
from workshed.jobs.outbox import schedule
from workshed.jobs.outbox.schedule import Reason
from workshed.middleware.job import Job, Outcome, OutcomeMiddleware
from workshed.middleware.options.backoff import LONGEST_BACKOFF, exponential_wait
from workshed.middleware.options.retry_on import check_rules
from workshed.middleware.retrying.attempt import record_failure
from workshed.middleware.retrying.policy import Policy, RunFacts
from workshed.strict_json import INTEGER_TYPES

LARGEST_NUMBER = 2**31 - 1
"""The limit for messages, too; a larger number of milliseconds may overflow a timedelta."""
FIRST_WAIT = timedelta(seconds=15)
MILLISECOND = timedelta(milliseconds=1)

T = TypeVar("T")


class Retries(OutcomeMiddleware):
    """Store the next generation of a job that runs again, or the row of a dead job.

    A retry is a row of the schedule, committed before the delivery is acknowledged, so you lose it
    neither by an outage of RabbitMQ nor by a crash in between.

    *Options:* `retry_on=` (`RetryOn` or several), `max_retries=` (by default the setting
    `WORKSHED_MAX_RETRIES`, 3), `min_backoff=` and `max_backoff=` (milliseconds; by default 15 s and
    7 days), `retry_when=` (a function of the number of retries so far and the error, instead of
    `max_retries`), `throws=` (exceptions that make the job dead at once).
    """

    def __init__(
        self,
        max_retries: int,
        record_visibility_grace: timedelta,
        replica_lag: timedelta = timedelta(),
    ) -> None:
        self.max_retries = max_retries
        self.record_visibility_grace = record_visibility_grace
        self.replica_lag = replica_lag

    @property
    def actor_options(self) -> set[str]:
        """The retry options of an actor."""
        return {"retry_on", "max_retries", "min_backoff", "max_backoff", "retry_when", "throws"}

    def before_declare_actor(self, broker: Broker, actor: dramatiq.Actor[..., object]) -> None:
        """Refuse options that would fail only when a job does; declare the queues of retries."""
        for name in ("max_retries", "min_backoff", "max_backoff"):
            value = actor.options.get(name, 0)
            if type(value) not in INTEGER_TYPES or not 0 <= value <= LARGEST_NUMBER:
                raise ValueError(
                    f"{actor.actor_name}: {name}={value!r} is not a whole number from 0 to "
                    f"{LARGEST_NUMBER}"
                )
        when = actor.options.get("retry_when")
        if when is not None and not callable(when):
            raise ValueError(f"{actor.actor_name}: retry_when={when!r} is not a function")
        if "throws" in actor.options:  # dramatiq passes it to `isinstance`
            actor.options["throws"] = as_tuple(actor.options["throws"])
        try:
            check_rules(
                as_tuple(actor.options.get("retry_on", ())),
                as_tuple(actor.options.get("discard_on", ())),
                as_tuple(actor.options.get("throws", ())),
            )
        except ValueError as err:
            raise ValueError(f"{actor.actor_name}: {err}") from None
        for queue in retry_queues(actor):
            broker.declare_queue(queue)

    def policy(self, actor: dramatiq.Actor[..., object], job: Job) -> Policy:
        """Return the rules of a run; the message's own options override the actor's."""
        options = {**actor.options, **job.message.options}
        first = timedelta(milliseconds=options.get("min_backoff", FIRST_WAIT / MILLISECOND))
        longest = timedelta(milliseconds=options.get("max_backoff", LONGEST_BACKOFF / MILLISECOND))
        return Policy(
            max_retries=options.get("max_retries", self.max_retries),
            wait=exponential_wait(first, longest),
            retry_on=as_tuple(options.get("retry_on", ())),
            discard_on=as_tuple(options.get("discard_on", ())),
            throws=as_tuple(options.get("throws", ())),
            retry_when=options.get("retry_when"),
            record_visibility_grace=self.record_visibility_grace,
            replica_lag=self.replica_lag,
        )

    def on_outcome(self, conn: Connection, job: Job, outcome: Outcome) -> None:
        """Record a failed attempt; store the next generation, or the dead job."""
        match outcome.kind:
            case "retry":
                record_failure(conn, job, outcome)
                reschedule(conn, job, outcome, attempt=job.attempt + 1, reason="retry")
            case "snoozed" | "interrupted":
                reschedule(conn, job, outcome, attempt=job.attempt, reason=outcome.kind)
            case "unknown_actor":
                since = job.message.options.get("unknown_actor_since", int(time.time() * 1000))
                reschedule(
                    conn,
                    job,
                    outcome,
                    attempt=job.attempt,
                    reason="unknown_actor",
                    unknown_actor_since=since,
                )
            case "dead" | "expired" | "poison":
                record_failure(conn, job, outcome)
                dead_letter(conn, job, outcome)


def run_facts(job: Job) -> RunFacts:
    """Collect the facts about a run that determine its outcome."""
    sent = timedelta(milliseconds=job.message.message_timestamp)
    now = timedelta(seconds=time.time())
    options = job.message.options
    # What has come further than the run before did not fail at the same again.
    begins = job.made_progress or (job.attempt == 1 and "failures" not in options)
    return RunFacts(
        attempt=job.attempt,
        generation=job.generation,
        is_transactional=job.is_transactional,
        age=now - sent,
        failures={} if begins else options.get("failures"),
        failing_since={} if job.made_progress else options.get("failing_since", {}),
        now_ms=now // MILLISECOND,
        missing_since_ms=options.get("record_missing_since"),
    )


def reschedule(
    conn: Connection, job: Job, outcome: Outcome, *, attempt: int, reason: Reason, **options: int
) -> None:
    """Store the next generation. Errors are kept in `workshed.attempts`, not in its body."""
    generation = job.generation + 1
    message = job.message.copy(
        queue_name=outcome.queue or job.message.queue_name,
        options={**outcome.options, "attempt": attempt, "generation": generation, **options},
    )
    row = schedule.OutboxRow(
        message_id=job.message_id,
        generation=generation,
        queue=message.queue_name,
        actor=message.actor_name,
        body=orjson.dumps(message).decode(),  # independent of the application's encoder
        reason=reason,
    )
    schedule.insert_row(conn, row, delay=outcome.delay)


def dead_letter(conn: Connection, job: Job, outcome: Outcome) -> None:
    """Store the job as it arrived, with the reason why it is dead."""
    from workshed.jobs.dead import dead_jobs  # noqa: PLC0415 -- a program that sends needs none

    dead_jobs.add_dead_job(
        conn,
        message_id=job.message_id,
        generation=job.generation,
        attempt=job.attempt,
        queue=job.message.queue_name,
        actor=job.message.actor_name,
        body=orjson.dumps(job.message),
        reason=job.redact(outcome.reason),
        error=outcome.error,
    )


def retry_queues(actor: dramatiq.Actor[..., object]) -> set[str]:
    """Return the queues other than its own that an actor's retries go to."""
    rules = as_tuple(actor.options.get("retry_on", ()))
    return {rule.group.queue for rule in rules if rule.group.queue is not None}


def as_tuple(value: T | tuple[T, ...] | list[T]) -> tuple[T, ...]:
    """Return an option as a tuple, whether it is one value or several."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)
