"""The jobs of a test whose rows are in PostgreSQL."""

from email.message import EmailMessage
from pathlib import Path

from workshed.db import Connection
from workshed.jobs.dead import dead_jobs as dead
from workshed.jobs.dead.dead_jobs import Dead
from workshed.testing import enqueued as rows
from workshed.testing.database import maildir
from workshed.testing.enqueued import Enqueued
from workshed.testing.sends import Sends

MOST_DEAD = 10_000


class StoredJobs(Sends):
    """What waits, what has died, and which mails were sent."""

    def __init__(self, conn: Connection, folder: Path) -> None:
        """`conn` is the kit's own, in autocommit: what is not committed, it does not see."""
        self._conn = conn
        self._folder = folder

    @property
    def enqueued(self) -> list[Enqueued]:
        """All that waits, in the order in which it will run; beside workers it is gone at once."""
        return rows.list_enqueued(self._conn)

    @property
    def scheduled(self) -> list[Enqueued]:
        """What waits for its time, the next due first."""
        return [job for job in self.enqueued if not job.is_due]

    @property
    def dead(self) -> list[Dead]:
        """The rows of jobs that died, the first one first."""
        return dead.list_dead_jobs(self._conn, limit=MOST_DEAD)[::-1]

    @property
    def mailbox(self) -> list[EmailMessage]:
        """The mails that were sent, the oldest first."""
        return maildir.read_mails(self._folder / maildir.NAME)
