"""Record the jobs for which there was nothing left to do."""

from middleware.attempt import record
from middleware.job import Job, Outcome, Settling
from workshed.db import Connection


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
        record(conn, job, outcome, "discarded")
