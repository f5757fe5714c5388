"""The jobs of a test whose rows are in PostgreSQL."""

from email.message import EmailMessage
from pathlib import Path

from workshed.db import Connection
from workshed.jobs.dead import dead_jobs as dead
from workshed.jobs.dead.dead_jobs import DeadJob
from workshed.testing import enqueued as rows
from workshed.testing.database import maildir
from workshed.testing.enqueued import EnqueuedJob
from workshed.testing.sends import SentJobs

MOST_DEAD = 10_000


class StoredJobs(SentJobs):
    """The waiting jobs, the dead jobs and the sent mails of a test."""

    def __init__(self, conn: Connection, folder: Path) -> None:
        """Take the kit's own `conn`, in autocommit mode, which sees only committed data."""
        self._conn = conn
        self._folder = folder

    @property
    def enqueued(self) -> list[EnqueuedJob]:
        """All waiting jobs in the order in which they will run; a worker empties it at once."""
        return rows.list_enqueued(self._conn)

    @property
    def scheduled(self) -> list[EnqueuedJob]:
        """Jobs that are not due yet, the next one first."""
        return [job for job in self.enqueued if not job.is_due]

    @property
    def dead(self) -> list[DeadJob]:
        """The rows of dead jobs, the oldest first."""
        return dead.list_dead_jobs(self._conn, limit=MOST_DEAD)[::-1]

    @property
    def mailbox(self) -> list[EmailMessage]:
        """The sent mails, the oldest first."""
        return maildir.read_mails(self._folder / maildir.NAME)
