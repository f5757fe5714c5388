"""Renew the leases of the jobs that run in this process for as long as it lives."""

import logging
import threading
from collections.abc import Callable, Sequence
from uuid import UUID

from workshed import db
from workshed.database.postgres import Connection
from workshed.jobs.locks.run_locks import LEASE

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
        self._over = threading.Event()

    def start(self) -> None:
        """Start renewing."""
        self._over = over = threading.Event()
        threading.Thread(target=self._run, args=[over], name="renewal", daemon=True).start()

    def stop(self) -> None:
        """Stop renewing."""
        self._over.set()

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

    def _run(self, over: threading.Event) -> None:
        while not over.wait(EVERY_S):
            try:
                with db.limited_wait(), db.connect() as conn:
                    while not over.is_set():
                        self.renew(conn)
                        over.wait(EVERY_S)
            except Exception as err:  # noqa: BLE001 -- it tries again, whatever it was
                said = str(err).strip()
                logger.warning("%s are not renewed: %s; trying again", self._title, said)
