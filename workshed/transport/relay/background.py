"""Run background duties on schedule, with their own thread and database connection."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Self

from workshed import db
from workshed.database.postgres import Connection
from workshed.errors import DatabaseUnreachableError
from workshed.jobs.outbox import claims

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
        self._stop_event = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        """Start with all duties due; without duties, no thread starts."""
        if self._tasks:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Finish the current piece of work."""
        self._stop_event.set()
        if self._tasks:
            self._thread.join(self._join_timeout_s)

    def _run(self) -> None:
        while not self._stop_event.is_set():
            try:
                with db.limited_wait(), db.connect() as conn:
                    claims.use_indexes(conn)
                    self._run_due_tasks(conn)
            except (*db.TRANSIENT_ERRORS, DatabaseUnreachableError) as err:
                logger.warning("%s: %s; trying again", self._thread.name, str(err).strip())
                self._stop_event.wait(PAUSE_S)

    def _run_due_tasks(self, conn: Connection) -> None:
        while not self._stop_event.is_set():
            for number, duty in enumerate(self._tasks):
                if self._due_at[number] <= time.monotonic():
                    self._due_at[number] = time.monotonic() + self._run_task(duty, conn)
            self._stop_event.wait(max(0.0, min(self._due_at) - time.monotonic()))

    def _run_task(self, duty: RelayTask, conn: Connection) -> float:
        try:
            return duty(conn)
        except db.TRANSIENT_ERRORS:
            raise
        except Exception:
            logger.exception("%s: failed", self._thread.name)  # the other duties continue
            return FAILURE_PAUSE_S
