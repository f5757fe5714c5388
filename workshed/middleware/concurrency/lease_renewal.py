"""Renew the leases of the jobs that run in this process for as long as it lives."""

import logging
import threading
from collections.abc import Callable, Sequence
from uuid import UUID

from workshed.database.postgres import Connection
from workshed.jobs.locks.run_locks import LEASE
from workshed.threads.connected import ConnectedThread

logger = logging.getLogger(__name__)

Renew = Callable[[Connection, Sequence[UUID]], int]
"""Extends leases by their tokens; returns how many of their rows still exist."""

EVERY_S = LEASE.total_seconds() / 6


class LeaseRenewer:
    """A thread that renews leases until they are dropped; up to four renewals in a row may fail."""

    def __init__(self, what: str, renew: Renew) -> None:
        """Prepare the thread; `what` names the leases in the log."""
        self._title = what
        self._renew = renew
        self._tokens: set[UUID] = set()
        self._lock = threading.Lock()
        self._thread: ConnectedThread | None = None

    def start(self) -> None:
        """Start renewing, in a new thread, because the one that was stopped may not have ended."""
        self._thread = ConnectedThread(
            "renewal", self.renew, EVERY_S, delay_s=EVERY_S, report=self._report
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop renewing."""
        if self._thread is not None:
            self._thread.stop()

    def add(self, token: UUID) -> None:
        """Renew a lease from now on."""
        with self._lock:
            self._tokens.add(token)

    def drop(self, token: UUID) -> None:
        """Stop renewing a lease."""
        with self._lock:
            self._tokens.discard(token)

    def renew(self, conn: Connection) -> None:
        """Renew all leases now."""
        with self._lock:
            tokens = list(self._tokens)
        if tokens and self._renew(conn, tokens) < len(tokens):
            logger.debug("a job has just ended, or has lost its lease (%s)", self._title)

    def _report(self, error: Exception, _pause_s: float) -> None:
        logger.warning("%s could not be renewed: %s; trying again", self._title, str(error).strip())
