"""What becomes of the rows of sent messages, written in batches and off the path of `send`."""

import atexit
import logging
import os
import queue as queues
import threading
import time
from collections.abc import Sequence
from typing import Literal

from workshed import db
from workshed.db import PASSING_ERRORS, Connection
from workshed.errors import DatabaseUnreachableError
from workshed.jobs.locks import unique
from workshed.jobs.outbox import leases
from workshed.jobs.outbox.leases import Key

logger = logging.getLogger(__name__)

Verb = Literal["end", "keep", "drop"]
"""`end`: it is on RabbitMQ's disk. `keep`: in its memory. `drop`: it is not to be sent."""

Batch = dict[Verb, list[Key]]

LONGEST_WAIT_S = 0.05
LARGEST_BATCH = 500
IDLE_S = 10.0
"""After so long without a mark the connection is closed."""
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 5.0
CLOSE_S = 5.0


class OutboxCleaner:
    """One thread with a connection of its own, started by the first mark of a process.

    A mark that is lost with its process costs a second copy of a message, which is
    dropped as a duplicate.
    """

    def __init__(self) -> None:
        """Start nothing."""
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        # Also after a fork: what was marked in the parent is written by the parent.
        self._marks: queues.SimpleQueue[tuple[Verb, Sequence[Key]]] = queues.SimpleQueue()
        self._starting = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, verb: Verb, keys: Sequence[Key]) -> None:
        """Mark rows, soon; safe in any thread, and waits for nothing."""
        if not keys:
            return
        self._marks.put((verb, keys))
        if self._thread is None or not self._thread.is_alive():
            try:
                self._start()
            except RuntimeError as err:  # from Python 3.12 on, at the end of a program
                logger.warning("rows of sent jobs were not deleted; a relay sends copies: %s", err)

    def close(self) -> None:
        """Write what was added, if PostgreSQL takes it now."""
        atexit.unregister(self.close)
        thread = self._thread
        if thread is not None and thread.is_alive():
            self._closing.set()
            self._marks.put(("end", ()))  # wakes it
            thread.join(CLOSE_S)

    def _start(self) -> None:
        with self._starting:
            if self._thread is None or not self._thread.is_alive():
                self._closing.clear()
                thread = threading.Thread(target=self._run, name="marks", daemon=True)
                atexit.register(self.close)
                thread.start()
                self._thread = thread

    def _run(self) -> None:
        batch: Batch = {}
        pause = FIRST_PAUSE_S
        while not self._closing.is_set() or not self._marks.empty() or batch:
            try:
                batch = batch or self._collected(None)
                with db.limited_wait(), db.connect() as conn:
                    while batch:
                        write_batch(conn, batch)
                        pause = FIRST_PAUSE_S
                        batch = self._collected(IDLE_S)
            except (*PASSING_ERRORS, DatabaseUnreachableError) as err:
                if self._closing.is_set():
                    logger.warning(
                        "rows of sent jobs were not deleted; a relay sends copies: %s", err
                    )
                    return
                logger.warning("PostgreSQL: %s; trying again in %g s", str(err).strip(), pause)
                self._closing.wait(pause)
                pause = min(pause * 2, LONGEST_PAUSE_S)
            except Exception:
                # A thread that ended here would leave every later row to the relay.
                logger.exception("rows of sent jobs cannot be marked; a relay sends copies")
                batch = {}

    def _collected(self, idle_s: float | None) -> Batch:
        """Wait for a mark, and a moment for more; empty when none comes within `idle_s`."""
        batch: Batch = {}
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


def write_batch(conn: Connection, batch: Batch) -> None:
    """Write a batch; each statement may be repeated."""
    if ended := batch.get("end"):
        leases.delete_leases(conn, ended)
    if kept := batch.get("keep"):
        leases.keep_until_outcome(conn, kept)
    for key in batch.get("drop", ()):
        with conn.transaction():
            if leases.delete_leases(conn, [key]):  # else a relay has it, and its lock is the job's
                unique.release_locks(conn, *key)
