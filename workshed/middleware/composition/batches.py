"""Record in a batch that one of its jobs has ended."""

from typing import Any

import dramatiq

from workshed.database.postgres import Connection
from workshed.jobs.batches import batches
from workshed.jobs.batches.batches import BatchJobEnd
from workshed.middleware.job import Job, Outcome, OutcomeMiddleware


class Batches(OutcomeMiddleware):
    """Record the end of a job in its batch, and send what follows in the same transaction.

    Duplicate deliveries have no outcome, and a job that ends a second time is not counted again.

    *Order:* last of the middleware that writes, because other jobs wait for the locks that the end
    of a batch's last job takes.
    *Options:* on a message `batch=`, the id of its batch.
    """

    def writes_plain_success(self, actor: dramatiq.Actor[..., Any]) -> bool:
        """Return False: a job of a batch has options."""
        return False

    def handles(self, job: Job, outcome: Outcome) -> bool:
        """Return whether a job of a batch has ended."""
        return "batch" in job.message.options and outcome.is_final

    def on_outcome(self, conn: Connection, job: Job, outcome: Outcome) -> None:
        """Record the end of the job in its batch."""
        batches.end_batch_job(conn, job.message_id, to_batch_end(outcome))


def to_batch_end(outcome: Outcome) -> BatchJobEnd:
    """Map an outcome to how a batch counts it; a cancelled job has not succeeded."""
    if outcome.kind in ("succeeded", "cancelled"):
        return outcome.kind
    return "dead" if outcome.is_dead else "discarded"
