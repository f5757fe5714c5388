"""Say that a worker process lives, and what it holds of its queues."""

import logging
import os
import socket
import time
from typing import Any
from uuid import uuid4

from brokers.consumer import Inbox
from brokers.execution import Execution
from workshed import db
from workshed.db import PASSING_ERRORS, Connection
from workshed.errors import DatabaseUnreachableError
from workshed.jobs import workers
from workshed.jobs.workers import Held, Process
from workshed.settings import settings

logger = logging.getLogger(__name__)

EVERY_S = 2.0


class WorkerBeat:
    """Beats in the name of this process; of ten silent seconds four beats may be lost."""

    def __init__(self, execution: Execution, inbox: Inbox, queues: list[str], threads: int) -> None:
        """Beat for what works off these queues."""
        self.process = Process(
            uuid4(), socket.gethostname(), os.getpid(), threads, settings().release
        )
        self._execution = execution
        self._holding = inbox.holding
        self._queues = queues
        self._due = 0.0

    def __call__(self, conn: Connection) -> None:
        """Beat, when it is time."""
        if time.monotonic() >= self._due:
            running = list(self._execution.running)
            workers.beat(conn, self.process, len(running), self._report(running))
            self._due = time.monotonic() + EVERY_S

    def leave(self) -> None:
        """Say that it has ended; what it could not settle goes back to its queues."""
        left = list(self._execution.running)
        for delivery in left:
            self._holding.returned(delivery.queue_name, delivery.job.published)
        try:
            with db.answering(), db.connect() as conn:
                workers.pass_on(conn, self._report(left))
                workers.leave(conn, self.process.id)
        except (*PASSING_ERRORS, DatabaseUnreachableError) as err:  # it is silent from now on
            logger.info("PostgreSQL does not know that this worker ended: %s", str(err).strip())

    def _report(self, running: list[Any]) -> list[Held]:
        waiting: list[Any] = self._execution.work.waiting()
        return self._holding.report(self._queues, waiting, running)
