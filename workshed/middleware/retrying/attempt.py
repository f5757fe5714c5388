"""Record how an attempt ended if it did not succeed."""

from workshed.database.postgres import Connection
from workshed.jobs.history import attempts
from workshed.middleware.job import Job, Outcome


def record_failure(conn: Connection, job: Job, outcome: Outcome) -> None:
    """Write a row of `workshed.attempts`."""
    attempts.record_attempt(
        conn,
        message_id=job.message_id,
        generation=job.generation,
        attempt=job.attempt,
        queue=job.message.queue_name,
        actor=job.message.actor_name,
        outcome=outcome.kind,
        reason=job.redact(outcome.reason),
        error=attempts.describe_error(outcome.error, job.redact),
    )
