"""Keep the lock of a unique job with the job."""

from middleware.job import Job, Outcome, Settling
from workshed.db import Connection
from workshed.jobs import unique


class Uniqueness(Settling):
    """Free the key of a unique job with its end; hand it on to the hop that runs next.

    Only what a hop holds is freed by it: a lock that is gone for another reason never drops a job.
    """

    def concerns(self, job: Job, outcome: Outcome) -> bool:
        """Every outcome of a job that has a key."""
        return "unique_key" in job.message.options

    def settle(self, conn: Connection, job: Job, outcome: Outcome) -> None:
        """Free the key when the job ends for good; move its hop when it will run again."""
        if outcome.ends:
            unique.free(conn, job.message_id, job.hop)
        else:
            unique.move(conn, job.message_id, job.hop + 1)
