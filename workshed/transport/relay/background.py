"""Run background duties on schedule, with their own thread and database connection."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Self

from workshed import db
from workshed.database.postgres import Connection
from workshed.jobs.outbox import claims
from workshed.threads.connected import ConnectedThread

logger = logging.getLogger(__name__)

RelayTask = Callable[[Connection], float]
"""Does one piece of work; returns in how many seconds the next one is due."""

PAUSE_S = 1.0
FAILURE_PAUSE_S = 5.0  # short enough that one failed heartbeat does not count as dead


class BackgroundTasks:
    """Runs duties for the duration of the block; an outage delays them, but does not end them."""

    def __init__(
        self, name: str, duties: Sequence[RelayTask], leave_s: float | None = None
    ) -> None:
        """Prepare the thread. `leave_s`: how long to wait for a piece of work at the end."""
        self._tasks = duties
        self._join_timeout_s = leave_s
        self._due_at = [0.0] * len(duties)
        self._thread = ConnectedThread(
            name, self._run_due_tasks, PAUSE_S, on_connect=claims.use_indexes
        )

    def __enter__(self) -> Self:
        """Start with all duties due; without duties, no thread starts."""
        if self._tasks:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Finish the current piece of work."""
        self._thread.stop(self._join_timeout_s)

    def _run_due_tasks(self, conn: Connection) -> float:
        for number, duty in enumerate(self._tasks):
            if self._due_at[number] <= time.monotonic():
                self._due_at[number] = time.monotonic() + self._run_task(duty, conn)
        return max(0.0, min(self._due_at) - time.monotonic())

    def _run_task(self, duty: RelayTask, conn: Connection) -> float:
        try:
            return duty(conn)
        except db.TRANSIENT_ERRORS:
            raise
        except Exception:
            logger.exception("%s: failed", self._thread.name)  # the other duties continue
            return FAILURE_PAUSE_S
