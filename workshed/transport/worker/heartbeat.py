"""Report that a worker process is alive, and what it holds of its queues."""

import logging
import os
import socket
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from workshed import db
from workshed.database.postgres import Connection
from workshed.errors import DatabaseUnreachableError
from workshed.jobs.control import workers
from workshed.jobs.control.workers import QueueReport, WorkerIdentity
from workshed.jobs.history.attempts import to_storable
from workshed.settings import settings
from workshed.transport.consuming.delivery import Delivery
from workshed.transport.consuming.execution import JobExecutor
from workshed.transport.consuming.inbox import Inbox

logger = logging.getLogger(__name__)

EVERY_S = 2.0
STATM_PATH = Path("/proc/self/statm")
"""On Linux: numbers of pages; the second is the number in RAM."""


class WorkerHeartbeat:
    """The heartbeat of this process. It may miss four beats before ten seconds have passed."""

    def __init__(
        self, execution: JobExecutor, inbox: Inbox, queues: list[str], threads: int
    ) -> None:
        """Send heartbeats for a worker of these queues."""
        self.process = WorkerIdentity(
            uuid4(), socket.gethostname(), os.getpid(), threads, settings().release
        )
        self._execution = execution
        self._inbox = inbox
        self._watermarks = inbox.watermarks
        self.queues = frozenset(queues)
        self.is_quiet = False
        """Whether an operator wants this process to start no more jobs, as of the last beat."""
        self._due_at = 0.0

    def __call__(self, conn: Connection) -> None:
        """Beat if it is time."""
        if (now := time.monotonic()) >= self._due_at:
            running = list(self._execution.running_jobs)
            self.is_quiet = workers.record_heartbeat(
                conn,
                self.process,
                len(running),
                self._report(running),
                running=describe_jobs(running),
                memory_bytes=read_memory_bytes(),
            )
            self._inbox.record_heartbeat(self.process.id, now)
            self._due_at = time.monotonic() + EVERY_S

    def record_end(self) -> None:
        """Record that it has ended, and that its unsettled deliveries go back to their queues."""
        left = list(self._execution.running_jobs)
        for delivery in left:
            self._watermarks.record_requeued(delivery.queue_name, delivery.job.published_s)
        try:
            with db.limited_wait(), db.connect() as conn:
                workers.record_watermarks(conn, self._report(left))
                workers.delete_worker(conn, self.process.id)
        except (
            *db.TRANSIENT_ERRORS,
            DatabaseUnreachableError,
        ) as err:  # it expires without heartbeats
            logger.info("could not record that this worker ended: %s", str(err).strip())

    def _report(self, running: list[Any]) -> list[QueueReport]:
        waiting: list[Any] = self._execution.work.list_waiting()
        return self._watermarks.snapshot(sorted(self.queues), waiting, running)


def describe_jobs(running: Iterable[Delivery]) -> list[dict[str, Any]]:
    """Describe the jobs whose actor is running; at most one per thread."""
    return [
        {
            "message_id": to_storable(one.message_id),
            "actor": one.actor_name,
            "queue": one.queue_name,
            "since": datetime.fromtimestamp(one.job.started_at, UTC).isoformat(),
        }
        for one in running
        if one.job.started_at is not None
    ]


def read_memory_bytes() -> int | None:
    """Return how much of this process is in RAM; `None` if the system does not say."""
    try:
        pages = STATM_PATH.read_bytes().split()[1]
    except OSError:
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
