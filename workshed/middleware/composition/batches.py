"""Tell a batch that a job of it has ended."""

from workshed.db import Connection
from workshed.jobs.batches import batches
from workshed.jobs.batches.batches import End
from workshed.middleware.job import Job, Outcome, OutcomeMiddleware


class Batches(OutcomeMiddleware):
    """Note the end of a job in its batch, and send what follows from it; both commit, or neither.

    A copy of the job has no outcome, and what ends a second time is not counted.

    *Order:* last of those that write: what the end of the last job locks, others wait for.
    *Options:* of a message `batch=`, the id of its batch.
    """

    def concerns(self, job: Job, outcome: Outcome) -> bool:
        """Only the end of a job of a batch."""
        return "batch" in job.message.options and outcome.is_final

    def settle(self, conn: Connection, job: Job, outcome: Outcome) -> None:
        """Note it."""
        batches.end_job(conn, job.message_id, end_of(outcome))


def end_of(outcome: Outcome) -> End:
    """Say what an end is to a batch; one that somebody cancelled has not succeeded."""
    if outcome.kind in ("succeeded", "cancelled"):
        return outcome.kind
    return "dead" if outcome.is_dead else "discarded"
