"""Outcomes of several jobs, stored in one statement where their threads meet."""

from collections.abc import Sequence

from workshed import db
from workshed.database.call_group import CallGroup
from workshed.jobs.idempotency import completed_generations
from workshed.jobs.idempotency.completed_generations import GenerationEnd
from workshed.middleware import Job, Outcome, OutcomeMiddleware


class OutcomeGroup:
    """Stores outcomes of which only the end of the job and its unique keys are to be written."""

    def __init__(self) -> None:
        """Begin with an empty group."""
        self._ends = CallGroup(end_generations)

    def write(self, job: Job, outcome: Outcome, writers: Sequence[OutcomeMiddleware]) -> bool:
        """Write an outcome, alone or with others; False if it needs a transaction of its own.

        Raises `DuplicateDelivery` if another copy was first.
        """
        if job.claim is not None:  # its row is deleted together with what follows
            return False
        if not all(middleware.can_be_grouped(job, outcome) for middleware in writers):
            return False
        end = self._ends.call(job.run_id)
        if end is None:
            return False
        for middleware in writers:
            middleware.on_grouped_end(job, end)
        return True


def end_generations(runs: Sequence[tuple[str, int]]) -> list[GenerationEnd]:
    """Store the ends of several jobs."""
    with db.autocommit_statement() as conn:
        return completed_generations.end_generations(conn, runs)
