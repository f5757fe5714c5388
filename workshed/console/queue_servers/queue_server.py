"""What operators see of the queues, and do with them, on any server."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import ClassVar

from workshed.console.purging import PurgeCounts
from workshed.console.rabbitmq.broker_status import BrokerStatus
from workshed.database.postgres import Connection
from workshed.jobs.locks.unique import UniqueLock
from workshed.queues import Queue
from workshed.value_class import value_class


@value_class
class Orphans:
    """Locks without a job, and the number of locks that could not be judged."""

    locks: list[UniqueLock]
    unjudged: int
    """Their queues hold messages, which may include their jobs."""


class QueueServer(ABC):
    """The queues on one server."""

    stored_place: ClassVar[str]
    """Where jobs wait that are not ready: `Left in PostgreSQL: 1 job`."""

    @property
    @abstractmethod
    def declared_queues(self) -> Mapping[str, Queue]:
        """The queues of this program."""

    @property
    @abstractmethod
    def cache_key(self) -> Hashable:
        """What its status depends on."""

    @abstractmethod
    def fetch_status(
        self, conn: Connection, names: Sequence[str], *, alarms: bool = False
    ) -> BrokerStatus:
        """Count the jobs and workers of these queues.

        Does not raise if RabbitMQ does not answer: the status has its errors.
        """

    @abstractmethod
    def count_waiting(self, conn: Connection) -> Mapping[str, int]:
        """Count the jobs that are not ready yet, by queue."""

    @abstractmethod
    def waiting_ages(self, conn: Connection) -> dict[str, tuple[timedelta, timedelta | None]]:
        """Return the two ages of each queue, as `workers.waiting_ages` does."""

    @abstractmethod
    def count_ready(self, conn: Connection, name: str) -> int:
        """Count the jobs of a queue that no worker holds; raises `NotFoundError`."""

    @abstractmethod
    def purge_queue(
        self,
        conn: Connection,
        name: str,
        limit: int,
        counts: PurgeCounts,
        step: Callable[[], None] = lambda: None,
    ) -> None:
        """End up to `limit` ready jobs as cancelled; `counts` is right even if this raises."""

    @abstractmethod
    def count_dead_messages(self, names: Iterable[str]) -> Mapping[str, int]:
        """Count the messages whose outcome could not even be stored, by queue."""

    @abstractmethod
    def find_orphans(self, conn: Connection) -> Orphans:
        """Find the locks of unique jobs that exist no more; raises `ManagementError`."""

    @abstractmethod
    def find_page_url(self, name: str) -> str | None:
        """Return the address of a queue in the server's own UI, if it has one."""
