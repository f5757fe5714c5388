"""Move the counts of runs to where they are kept."""

from workshed.database.postgres import Connection
from workshed.jobs.history import run_minutes

POLL_S = 5.0
PAUSE_S = 0.05
"""Pause between two batches, after a time without a relay."""
BATCH = 1_000
"""Rows of one statement; each may have a thousand runs, and other duties wait for it."""


def roll_up_run_counts(conn: Connection) -> float:
    """Move a batch; several relays take turns. The numbers of pages are right before and after."""
    return PAUSE_S if run_minutes.roll_up(conn, BATCH) == BATCH else POLL_S
