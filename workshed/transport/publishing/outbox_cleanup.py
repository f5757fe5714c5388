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
from workshed.backoff import jittered_backoff_s
from workshed.database.postgres import Connection
from workshed.errors import DatabaseUnreachableError
from workshed.jobs.locks import unique
from workshed.jobs.outbox import leases
from workshed.jobs.outbox.leases import Key

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
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, verb: RowFate, keys: Sequence[Key]) -> None:
        """Mark rows soon, without waiting; safe from any thread."""
        if not keys:
            return
        self._marks.put((verb, keys))
        if self._thread is None or not self._thread.is_alive():
            try:
                self._start()
            except RuntimeError as err:  # from Python 3.12 on, at the end of a program
                logger.warning(
                    "could not delete the rows of sent jobs; a relay will send them again, and "
                    "workers will drop the duplicates: %s",
                    err,
                )

    def close(self) -> None:
        """Write pending marks, if PostgreSQL takes them now."""
        atexit.unregister(self.close)
        thread = self._thread
        if thread is not None and thread.is_alive():
            self._closing.set()
            self._marks.put(("delivered", ()))  # wakes it
            thread.join(CLOSE_S)

    def _start(self) -> None:
        with self._start_lock:
            if self._thread is None or not self._thread.is_alive():
                self._closing.clear()
                thread = threading.Thread(target=self._run, name="marks", daemon=True)
                atexit.register(self.close)
                thread.start()
                self._thread = thread

    def _run(self) -> None:
        batch: CleanupBatch = {}
        failures = 0
        while not self._closing.is_set() or not self._marks.empty() or batch:
            try:
                batch = batch or self._next_batch(None)
                with db.limited_wait(), db.connect() as conn:
                    while batch:
                        write_batch(conn, batch)
                        failures = 0
                        batch = self._next_batch(IDLE_S)
            except (*db.TRANSIENT_ERRORS, DatabaseUnreachableError) as err:
                if self._closing.is_set():
                    logger.warning(
                        "could not delete the rows of sent jobs; a relay will send them again, and "
                        "workers will drop the duplicates: %s",
                        err,
                    )
                    return
                pause = jittered_backoff_s(failures, FIRST_PAUSE_S, LONGEST_PAUSE_S)
                logger.warning("PostgreSQL: %s; trying again in %.2g s", str(err).strip(), pause)
                self._closing.wait(pause)
                failures += 1
            except Exception:
                # If the thread ended here, every later row would be left to the relay.
                logger.exception(
                    "could not mark the rows of sent jobs; a relay will send them again, and "
                    "workers will drop the duplicates"
                )
                batch = {}

    def _next_batch(self, idle_s: float | None) -> CleanupBatch:
        """Wait for a mark, and briefly for more; empty if none arrives within `idle_s`."""
        batch: CleanupBatch = {}
        size = 0
        wait = 0.0 if self._closing.is_set() else idle_s
        until = None
        while size < LARGEST_BATCH:
            try:
                verb, keys = self._marks.get(timeout=wait)
            except queues.Empty:
                break
            batch.setdefault(verb, []).extend(keys)
            size += len(keys)
            until = until or time.monotonic() + LONGEST_WAIT_S
            wait = 0.0 if self._closing.is_set() else max(0.0, until - time.monotonic())
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
