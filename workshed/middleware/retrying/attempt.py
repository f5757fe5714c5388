"""Record how an attempt ended, when it was not with success."""

from workshed.db import Connection
from workshed.jobs.history import attempts
from workshed.jobs.history.attempts import Kind
from workshed.middleware.job import Job, Outcome


def record(conn: Connection, job: Job, outcome: Outcome, kind: Kind) -> None:
    """Write the row of `jobs.attempts`."""
    attempts.record(
        conn,
        message_id=job.message_id,
        hop=job.hop,
        attempt=job.attempt,
        queue=job.message.queue_name,
        actor=job.message.actor_name,
        outcome=kind,
        reason=job.shown(outcome.reason),
        error=attempts.described(outcome.error, job.shown),
    )
