"""Write the history of runs in the background: in batches, in bounded memory."""

import itertools
import logging
import os
import socket
import threading
from collections import deque

from workshed import db
from workshed.database.postgres import Connection
from workshed.errors import DatabaseUnreachableError
from workshed.jobs.history import run_minutes, runs
from workshed.jobs.history.copy_format import message_id_of
from workshed.metrics import meters
from workshed.middleware.observability.run_tally import RunTally
from workshed.threads.connected import ConnectedThread

logger = logging.getLogger(__name__)

LARGEST_BYTES = 32 << 20
"""Limit of rows that wait to be written; about 70 000 of succeeded jobs."""
OVERHEAD_BYTES = 48
"""Memory of a waiting row in addition to its content."""
WINDOW = 1_000
LOOK_S = 0.5
"""Interval between checks, if less than a full window waits to be written."""
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 5.0
CLOSE_S = 5.0


class HistoryWriter:
    """A thread of a worker that writes history on a connection of its own.

    Jobs never wait for their history: a record that does not fit is dropped and counted. Records
    that a killed worker had not written, of at most half a second, are lost uncounted.
    """

    def __init__(self, release: str = "") -> None:
        """Write for a worker of this release."""
        self.dropped = 0
        """Records that did not fit or could not be written, since this process started."""
        self.unrecorded = RunTally()
        """Runs without a record, of which only the numbers are written."""
        self._release = release
        self.worker = f"{socket.gethostname()}:{os.getpid()}"
        self._recorded_count = 0
        self._queue: deque[bytes] = deque()
        self._bytes = 0
        self._lock = threading.Lock()
        self._thread = ConnectedThread(
            "runs",
            self._write_queued,
            LOOK_S,
            on_connect=runs.add_partitions,
            retry_s=(FIRST_PAUSE_S, LONGEST_PAUSE_S),
            report=self._report,
            is_work_left=lambda: (
                self._queue or self.unrecorded or self.dropped > self._recorded_count
            ),
        )

    def start(self) -> None:
        """Start writing."""
        self._thread.start()

    def add(self, row: bytes) -> None:
        """Queue a row without waiting."""
        size = len(row) + OVERHEAD_BYTES
        with self._lock:
            if self._bytes + size > LARGEST_BYTES:
                self.dropped += 1
                return
            self._bytes += size
            self._queue.append(row)
        if len(self._queue) >= WINDOW:
            self._thread.wake()

    def close(self) -> None:
        """Write what is queued, if PostgreSQL accepts it now."""
        self._thread.stop(CLOSE_S)

    def _write_queued(self, conn: Connection) -> None:
        while window := self._window():
            self._write(conn, window)
            self._remove_written(len(window))
            # The few rows that were added meanwhile wait for more: a busy worker would write one
            # transaction after the other.
            if len(self._queue) < WINDOW and not self._thread.is_stopping:
                break
        self._count_unrecorded(conn)
        self._record_dropped(conn)

    def _report(self, error: Exception, pause_s: float) -> None:
        is_outage = isinstance(error, (*db.TRANSIENT_ERRORS, DatabaseUnreachableError))
        if is_outage and self._thread.is_stopping:
            logger.warning("%d runs are not recorded: %s", len(self._queue), error)
        else:
            self._thread.log_error(error, pause_s)

    def _window(self) -> list[bytes]:
        """Return the next rows to write; they stay queued until they are written."""
        with self._lock:  # `add` must not change the deque during the iteration
            return list(itertools.islice(self._queue, WINDOW))

    def _write(self, conn: Connection, rows: list[bytes]) -> None:
        try:
            runs.write_runs(conn, rows)
        except db.TRANSIENT_ERRORS:
            raise
        except db.errors.CheckViolation:
            # The partition of a new day is missing, or the table refuses a row.
            runs.add_partitions(conn)
            self._write_each(conn, rows)
        except Exception:  # noqa: BLE001 -- at least one row cannot be stored
            self._write_each(conn, rows)

    def _write_each(self, conn: Connection, rows: list[bytes]) -> None:
        for row in rows:
            try:
                runs.write_runs(conn, [row])
            except db.TRANSIENT_ERRORS:
                raise
            except Exception:
                self.dropped += 1
                logger.exception("the run of %s cannot be recorded", message_id_of(row))

    def _remove_written(self, count: int) -> None:
        with self._lock:
            for _ in range(count):
                self._bytes -= len(self._queue.popleft()) + OVERHEAD_BYTES

    def _count_unrecorded(self, conn: Connection) -> None:
        if counts := self.unrecorded.take():
            try:
                run_minutes.count_unrecorded(conn, self._release, counts)
            except BaseException:
                self.unrecorded.put_back(counts)
                raise

    def _record_dropped(self, conn: Connection) -> None:
        """Record for readers of the history that it is incomplete."""
        lost = self.dropped
        if lost > self._recorded_count:
            runs.record_dropped(conn, self.worker, lost - self._recorded_count)
            meters.HISTORY_ROWS_DROPPED.add(amount=lost - self._recorded_count)
            logger.warning("%d runs were not recorded", lost - self._recorded_count)
            self._recorded_count = lost
