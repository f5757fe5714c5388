"""Move the counts of runs to where they are kept."""

from psycopg.errors import OutOfMemory, QueryCanceled

from workshed.database.postgres import Connection
from workshed.jobs.history import run_minutes

POLL_S = 5.0
PAUSE_S = 0.05
"""Pause between two batches, after a time without a relay."""
BATCH = 1_000
"""Rows of one statement; each may have a thousand runs, and other duties wait for it."""
MIN_BATCH = 10


class RunCountMover:
    """Moves one batch at a time; several relays take turns.

    The numbers of pages are right before and after.
    """

    def __init__(self) -> None:
        self._batch = BATCH

    def __call__(self, conn: Connection) -> float:
        """Move a batch; return in how many seconds the next one is due."""
        try:
            moved = run_minutes.roll_up(conn, self._batch)
        except (OutOfMemory, QueryCanceled):  # PostgreSQL may have a limit of its own
            if self._batch == MIN_BATCH:
                raise
            self._batch = max(self._batch // 4, MIN_BATCH)
            return PAUSE_S
        if moved == self._batch:
            return PAUSE_S
        self._batch = BATCH
        return POLL_S
