"""Hold the leases of the jobs that run in this process for as long as it lives."""

import logging
import threading
from uuid import UUID

from workshed import db
from workshed.db import Connection
from workshed.jobs import turns
from workshed.jobs.turns import LEASE, Turn

logger = logging.getLogger(__name__)

EVERY_S = LEASE.total_seconds() / 6


class Renewal:
    """A thread that renews what was added and not dropped; four renewals of five may fail."""

    def __init__(self) -> None:
        """Start nothing."""
        self._tokens: set[UUID] = set()
        self._lock = threading.Lock()
        self._over = threading.Event()

    def start(self) -> None:
        """Renew from now on."""
        self._over = over = threading.Event()
        threading.Thread(target=self._run, args=[over], name="renewal", daemon=True).start()

    def stop(self) -> None:
        """Renew no more."""
        self._over.set()

    def add(self, turn: Turn) -> None:
        """Hold a lease."""
        with self._lock:
            self._tokens.add(turn.token)

    def drop(self, turn: Turn) -> None:
        """Let go of one."""
        with self._lock:
            self._tokens.discard(turn.token)

    def renew(self, conn: Connection) -> None:
        """Renew all of them now."""
        with self._lock:
            tokens = list(self._tokens)
        if tokens and turns.renew(conn, tokens) < len(tokens):
            logger.debug("a job has ended meanwhile, or has lost its turn")

    def _run(self, over: threading.Event) -> None:
        while not over.wait(EVERY_S):
            try:
                with db.answering(), db.connect() as conn:
                    while not over.is_set():
                        self.renew(conn)
                        over.wait(EVERY_S)
            except Exception as err:  # noqa: BLE001 -- it tries again, whatever it was
                logger.warning("turns are not renewed: %s; trying again", str(err).strip())
