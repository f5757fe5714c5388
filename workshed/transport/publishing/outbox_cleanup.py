"""Mark or delete the rows of sent messages in batches, so that `send` does not wait for it."""

import atexit
import logging
import os
import queue as queues
import threading
import time
from collections.abc import Sequence
from typing import Literal

from workshed import db
from workshed.database.postgres import Connection
from workshed.errors import DatabaseUnreachableError
from workshed.jobs.locks import unique
from workshed.jobs.outbox import leases
from workshed.jobs.outbox.leases import Key
from workshed.threads.background import BackgroundThread

logger = logging.getLogger(__name__)

RowFate = Literal["delivered", "keep_until_done", "cancelled"]
"""`end`: it is on RabbitMQ's disk. `keep`: it is in its memory. `drop`: it must not be sent."""

CleanupBatch = dict[RowFate, list[Key]]

LONGEST_WAIT_S = 0.05
LARGEST_BATCH = 500
IDLE_S = 10.0
"""The connection is closed after this long without a mark."""
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 5.0
CLOSE_S = 5.0
CONSEQUENCE = (
    "the rows of sent jobs; a relay will publish them again, and workers will drop the copies"
)


class OutboxCleaner:
    """One thread with its own connection, started by the first mark of a process.

    If a mark is lost with its process, a relay sends a second copy of the message, which is dropped
    as a duplicate.
    """

    def __init__(self) -> None:
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        # Also after a fork, because the parent writes its own marks.
        self._marks: queues.SimpleQueue[tuple[RowFate, Sequence[Key]]] = queues.SimpleQueue()
        self._start_lock = threading.Lock()
        self._batch: CleanupBatch = {}
        self._thread = BackgroundThread(
            "marks",
            self._write_marks,
            0.0,
            retry_s=(FIRST_PAUSE_S, LONGEST_PAUSE_S),
            report=self._report,
            is_work_left=lambda: self._batch or not self._marks.empty(),
        )

    def add(self, verb: RowFate, keys: Sequence[Key]) -> None:
        """Mark rows soon, without waiting; safe from any thread."""
        if not keys:
            return
        self._marks.put((verb, keys))
        if not self._thread.is_running:
            try:
                self._start()
            except RuntimeError as err:  # from Python 3.12 on, at the end of a program
                logger.warning("could not delete %s: %s", CONSEQUENCE, err)

    def close(self) -> None:
        """Write pending marks, if PostgreSQL takes them now."""
        atexit.unregister(self.close)
        if self._thread.is_running:
            self._thread.stop()
            self._marks.put(("delivered", ()))  # wakes it
            self._thread.stop(CLOSE_S)

    def _start(self) -> None:
        with self._start_lock:
            if not self._thread.is_running:
                atexit.register(self.close)
                self._thread.start()

    def _write_marks(self) -> None:
        self._batch = self._batch or self._next_batch(None)
        if self._batch:
            with db.limited_wait(), db.connect() as conn:
                while self._batch:
                    write_batch(conn, self._batch)
                    self._thread.failures = 0
                    self._batch = self._next_batch(IDLE_S)

    def _report(self, error: Exception, pause_s: float) -> None:
        if not isinstance(error, (*db.TRANSIENT_ERRORS, DatabaseUnreachableError)):
            logger.error("could not mark %s", CONSEQUENCE, exc_info=error)
            self._batch = {}  # else the next round would fail likewise
        elif self._thread.is_stopping:
            logger.warning("could not delete %s: %s", CONSEQUENCE, error)
        else:
            logger.warning("PostgreSQL: %s; trying again in %.2g s", str(error).strip(), pause_s)

    def _next_batch(self, idle_s: float | None) -> CleanupBatch:
        """Wait for a mark, and briefly for more; empty if none arrives within `idle_s`."""
        batch: CleanupBatch = {}
        size = 0
        wait = 0.0 if self._thread.is_stopping else idle_s
        until = None
        while size < LARGEST_BATCH:
            try:
                verb, keys = self._marks.get(timeout=wait)
            except queues.Empty:
                break
            batch.setdefault(verb, []).extend(keys)
            size += len(keys)
            until = until or time.monotonic() + LONGEST_WAIT_S
            wait = 0.0 if self._thread.is_stopping else max(0.0, until - time.monotonic())
        return batch


def write_batch(conn: Connection, batch: CleanupBatch) -> None:
    """Write a batch; each statement may be repeated."""
    if ended := batch.get("delivered"):
        leases.delete_leases(conn, ended)
    if kept := batch.get("keep_until_done"):
        leases.keep_until_outcome(conn, kept)
    for key in batch.get("cancelled", ()):
        with conn.transaction():
            if leases.delete_leases(conn, [key]):  # else a relay has it, and the job needs the lock
                unique.release_locks(conn, *key)
