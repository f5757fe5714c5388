"""Write the history of runs beside the jobs: in batches, in bounded memory."""

import itertools
import logging
import os
import socket
import threading
from collections import deque

from psycopg.errors import CheckViolation

from workshed import db
from workshed.db import PASSING_ERRORS, Connection
from workshed.errors import DatabaseUnreachableError
from workshed.jobs.history import runs
from workshed.jobs.history.copy_format import message_of
from workshed.metrics import meters

logger = logging.getLogger(__name__)

LARGEST_BYTES = 32 << 20
"""Of rows that wait to be written; some 70 000 of jobs that were done."""
OVERHEAD_BYTES = 48
"""Of a row besides what is written of it."""
WINDOW = 1_000
LOOK_S = 0.5
"""Between two looks, of a worker that has less than a window to write."""
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 5.0
CLOSE_S = 5.0


class HistoryWriter:
    """One thread with a connection of its own, in a worker.

    Jobs never wait for their history: a record that finds no room is dropped and counted. What a
    worker had not written when it was killed, of half a second at most, is not counted.
    """

    def __init__(self) -> None:
        """Start nothing."""
        self.lost = 0
        """Records that found no room or could not be written, since this process started."""
        self.worker = f"{socket.gethostname()}:{os.getpid()}"
        self._noted = 0
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="runs", daemon=True)

    def start(self) -> None:
        """Write from now on."""
        self._thread.start()

    def add(self, row: bytes) -> None:
        """Take a row; waits for nothing."""
        size = len(row) + OVERHEAD_BYTES
        with self._lock:
            if self._bytes + size > LARGEST_BYTES:
                self.lost += 1
                return
            self._bytes += size
            self._waiting.append(row)
        if len(self._waiting) >= WINDOW:
            self._wake.set()

    def close(self) -> None:
        """Write what waits, if PostgreSQL takes it now."""
        self._closing.set()
        self._wake.set()
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        pause = FIRST_PAUSE_S
        while not self._closing.is_set() or self._waiting:
            try:
                with db.limited_wait(), db.connect() as conn:
                    runs.add_partitions(conn)
                    pause = FIRST_PAUSE_S
                    self._work(conn)
            except (*PASSING_ERRORS, DatabaseUnreachableError) as err:
                if self._closing.is_set():
                    logger.warning("%d runs are not recorded: %s", len(self._waiting), err)
                    return
                logger.warning("runs: %s; trying again in %g s", str(err).strip(), pause)
            except Exception:
                logger.exception("runs are not recorded; trying again in %g s", pause)
            self._closing.wait(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)

    def _work(self, conn: Connection) -> None:
        """Write windows until this worker ends."""
        while True:
            while window := self._window():
                self._write(conn, window)
                self._forget(len(window))
            self._note_lost(conn)
            if self._closing.is_set():
                return
            self._wake.wait(LOOK_S)
            self._wake.clear()

    def _window(self) -> list[bytes]:
        """Return what is written next, which stays until that is done."""
        with self._lock:  # none is added between the start of an iteration and its end
            return list(itertools.islice(self._waiting, WINDOW))

    def _write(self, conn: Connection, rows: list[bytes]) -> None:
        try:
            runs.write_runs(conn, rows)
        except PASSING_ERRORS:
            raise
        except CheckViolation:  # a new day, or the table refuses one of them
            runs.add_partitions(conn)
            self._write_each(conn, rows)
        except Exception:  # noqa: BLE001 -- one of them cannot be stored, whatever it has
            self._write_each(conn, rows)

    def _write_each(self, conn: Connection, rows: list[bytes]) -> None:
        for row in rows:
            try:
                runs.write_runs(conn, [row])
            except PASSING_ERRORS:
                raise
            except Exception:
                self.lost += 1
                logger.exception("the run of %s cannot be recorded", message_of(row))

    def _forget(self, count: int) -> None:
        with self._lock:
            for _ in range(count):
                self._bytes -= len(self._waiting.popleft()) + OVERHEAD_BYTES

    def _note_lost(self, conn: Connection) -> None:
        """Let those who read the history know that it is not whole."""
        lost = self.lost
        if lost > self._noted:
            runs.note_lost(conn, self.worker, lost - self._noted)
            meters.HISTORY_ROWS_DROPPED.add(amount=lost - self._noted)
            logger.warning("%d runs were not recorded", lost - self._noted)
            self._noted = lost
