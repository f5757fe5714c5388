"""The queues of an installation without RabbitMQ, which are rows of the schedule."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from datetime import timedelta

from workshed.console.purging import PurgeCounts, end_message
from workshed.console.queue_servers.queue_server import Orphans, QueueServer
from workshed.console.rabbitmq.broker_status import BrokerStatus
from workshed.database.postgres import Connection
from workshed.jobs.control import workers
from workshed.jobs.locks import unique
from workshed.jobs.outbox import depths
from workshed.queues import Queue
from workshed.settings import settings
from workshed.transport.postgresql import PostgreSQLBroker
from workshed.transport.publishing.queue_depth import QueueDepth

BATCH = 100
"""Jobs that a purge ends in one transaction."""


class TableQueues(QueueServer):
    """Counts and deletes rows: every job that has not ended is one."""

    stored_place = "for later"

    def __init__(self, broker: PostgreSQLBroker) -> None:
        """Take the broker of this program."""
        self._broker = broker

    @property
    def declared_queues(self) -> Mapping[str, Queue]:
        """The queues of this program."""
        return self._broker.declared_queues

    @property
    def cache_key(self) -> Hashable:
        """The database."""
        return str(settings().database_url)

    def fetch_status(
        self, conn: Connection, names: Sequence[str], *, alarms: bool = False
    ) -> BrokerStatus:
        """Count the rows that are due, and those that workers have claimed."""
        _ = alarms  # it has none
        found, consumers = depths.count_rows_by_queue(conn), workers.count_consumers(conn)
        none = depths.TableDepth(0, 0, 0)
        return BrokerStatus(
            {name: QueueDepth(found.get(name, none).due, consumers.get(name, 0)) for name in names},
            {name: found.get(name, none).claimed for name in names},
        )

    def count_waiting(self, conn: Connection) -> dict[str, int]:
        """Count the rows that are due later."""
        found = depths.count_rows_by_queue(conn)
        return {name: one.later for name, one in found.items()}

    def waiting_ages(self, conn: Connection) -> dict[str, tuple[timedelta, timedelta | None]]:
        """Return the exact ages, since each job that waits is a row."""
        ages = workers.waiting_ages(conn)
        return {name: (timedelta(), waited) for name, (_, waited) in ages.items()}

    def count_ready(self, conn: Connection, name: str) -> int:
        """Count the rows of a queue that are due and not claimed."""
        return depths.count_due(conn, name)

    def purge_queue(
        self,
        conn: Connection,
        name: str,
        limit: int,
        counts: PurgeCounts,
        step: Callable[[], None] = lambda: None,
    ) -> None:
        """End up to `limit` due jobs; each row is deleted with the outcome of its job."""
        left = limit
        while left > 0:
            with conn.transaction():
                bodies = depths.delete_due(conn, name, min(left, BATCH))
                results = [
                    end_message(self._broker, conn, name, None, body.encode()) for body in bodies
                ]
            for is_readable in results:
                counts.add(is_readable=is_readable)
                step()
            if not bodies:
                return
            left -= len(bodies)

    def count_dead_messages(self, names: Iterable[str]) -> dict[str, int]:
        """Return nothing: a job whose outcome cannot be stored is in the dead table."""
        _ = names
        return {}

    def find_orphans(self, conn: Connection) -> Orphans:
        """Find the locks whose job has no row; the row is there until its outcome is stored."""
        return Orphans(unique.list_locks_without_row(conn), 0)

    def find_page_url(self, name: str) -> None:
        """Return nothing: the console is the UI."""
