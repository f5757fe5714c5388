"""Keep the lock of a unique job with the job."""

import logging

from middleware.job import Job, Outcome, Settling
from workshed.db import Connection
from workshed.jobs import counts, unique

logger = logging.getLogger(__name__)


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
            held = unique.free(conn, job.message_id, job.hop)
        else:
            held = unique.move(conn, job.message_id, job.hop + 1)
        if not held:
            counts.add("ran_without_lock", job.message.actor_name)
            logger.warning(
                "ran without its lock %r: expired, or released by hand",
                job.message.options["unique_key"],
            )
