"""Cancel the waiting jobs of cancelled batches."""

from workshed.database.postgres import Connection
from workshed.jobs.control.batch_cancellations import cancel_waiting_jobs

POLL_S = 1.0
JOBS_PER_TURN = 100
"""Jobs per turn, so that a batch of a million does not delay other duties."""


def cancel_batch_jobs(conn: Connection) -> float:
    """Cancel some waiting jobs; due again at once if there are more. Any relay may run it."""
    return 0.0 if len(cancel_waiting_jobs(conn, JOBS_PER_TURN)) == JOBS_PER_TURN else POLL_S
