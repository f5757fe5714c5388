"""Record the jobs for which there was nothing left to do."""

import logging

from middleware.job import Job, Outcome, Settling
from workshed.db import Connection
from workshed.jobs import attempts

logger = logging.getLogger(__name__)


class Discard(Settling):
    """Write a row, with its reason, for each job that is discarded: never silently gone.

    *Options:* `discard_on=` (exceptions that end the job without a retry). `RecordMissing` and
    `workshed.jobs.Discard` need no option.
    """

    @property
    def actor_options(self) -> set[str]:
        """Exceptions that end a job of this actor."""
        return {"discard_on"}

    def concerns(self, job: Job, outcome: Outcome) -> bool:
        """Only a discard."""
        return outcome.kind == "discarded"

    def settle(self, conn: Connection, job: Job, outcome: Outcome) -> None:
        """Record the discard."""
        if outcome.kind != "discarded":
            return
        attempts.record(
            conn,
            message_id=job.message_id,
            hop=job.hop,
            attempt=job.attempt,
            queue=job.message.queue_name,
            actor=job.message.actor_name,
            outcome="discarded",
            reason=outcome.reason,
            error=outcome.error,
        )
