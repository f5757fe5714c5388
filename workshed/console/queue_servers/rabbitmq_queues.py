"""The queues on RabbitMQ, asked over AMQP and the management API."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from datetime import timedelta

from workshed.console.errors import ManagementError, NotFoundError
from workshed.console.purging import PurgeCounts
from workshed.console.queue_servers.queue_server import Orphans, QueueServer
from workshed.console.rabbitmq import amqp, purge, queue_depths
from workshed.console.rabbitmq.broker_status import BrokerStatus, fetch_status
from workshed.console.rabbitmq.management_api import TIMEOUT_S, ManagementApi
from workshed.database.postgres import Connection
from workshed.errors import WorkshedError
from workshed.jobs.control import workers
from workshed.jobs.locks import unique
from workshed.jobs.outbox import schedule
from workshed.queues import Queue
from workshed.settings import settings
from workshed.transport.amqp import topology
from workshed.transport.rabbitmq import RabbitMQBroker


def open_management(broker: RabbitMQBroker, timeout_s: float = TIMEOUT_S) -> ManagementApi | None:
    """Return the management API of the broker's virtual host, or `None` if it is not configured."""
    url = settings().management_url
    vhost = amqp.url_vhost(broker.urls[0])
    if url is None:
        return None
    return ManagementApi(url.get_secret_value(), vhost, timeout_s, broker.prefix)


class RabbitMQQueues(QueueServer):
    """Knows of jobs on RabbitMQ only how many there are."""

    stored_place = "in PostgreSQL"

    def __init__(
        self,
        broker: RabbitMQBroker,
        amqp_s: float = topology.TIMEOUT_S,
        api_s: float = TIMEOUT_S,
    ) -> None:
        """Wait for AMQP and for each request to the API so many seconds."""
        self._broker = broker
        self._amqp_s = amqp_s
        self._api_s = api_s

    @property
    def declared_queues(self) -> Mapping[str, Queue]:
        """The queues of this program."""
        return self._broker.declared_queues

    @property
    def cache_key(self) -> Hashable:
        """The servers and the prefix."""
        return (*self._broker.urls, self._broker.prefix, str(settings().management_url))

    def fetch_status(
        self, conn: Connection, names: Sequence[str], *, alarms: bool = False
    ) -> BrokerStatus:
        """Ask over AMQP, and the management API; raises for an invalid URL of the latter."""
        _ = conn
        return fetch_status(
            list(self._broker.urls),
            open_management(self._broker, self._api_s),
            names,
            self._amqp_s,
            prefix=self._broker.prefix,
            alarms=alarms,
        )

    def count_waiting(self, conn: Connection) -> dict[str, int]:
        """Count the rows of the schedule that are not on RabbitMQ."""
        return schedule.count_unsent_by_queue(conn)

    def waiting_ages(self, conn: Connection) -> dict[str, tuple[timedelta, timedelta | None]]:
        """Return an upper bound for jobs on RabbitMQ, and the age of the oldest other one."""
        return workers.waiting_ages(conn)

    def count_ready(self, conn: Connection, name: str) -> int:
        """Ask over AMQP."""
        _ = conn
        broker = self._broker
        found = queue_depths.fetch_depths(broker.urls, [name], prefix=broker.prefix)
        if name not in found:
            raise NotFoundError(f"RabbitMQ has no queue {name!r} yet; see `workshed queues`")
        return found[name].ready

    def purge_queue(
        self,
        conn: Connection,
        name: str,
        limit: int,
        counts: PurgeCounts,
        step: Callable[[], None] = lambda: None,
    ) -> None:
        """Take the messages one by one, and end each job before its message is acked."""
        purge.purge_queue(self._broker, conn, name, limit, counts, step)

    def count_dead_messages(self, names: Iterable[str]) -> dict[str, int]:
        """Count the messages in `<queue>.dead`; raises as `fetch_depths`."""
        return queue_depths.count_dead_messages(self._broker.urls, names, self._broker.prefix)

    def find_orphans(self, conn: Connection) -> Orphans:
        """Find the locks whose job is neither in PostgreSQL nor in a queue of RabbitMQ.

        A job is always in one of the two: its row is deleted only after RabbitMQ has confirmed it,
        and its message is acked only after its outcome is stored. So a lock that has no row both
        before and after its queue was seen empty has no job. Raises `ManagementError`.
        """
        api = open_management(self._broker, self._api_s)
        if api is None:
            raise ManagementError(
                "this needs RabbitMQ's management API: set WORKSHED_MANAGEMENT_URL"
            )
        before = unique.list_locks_without_row(conn)
        totals = {name: one.get("messages", 0) for name, one in api.queues().items()}
        after = {
            (lock.key, lock.message_id, lock.generation)
            for lock in unique.list_locks_without_row(conn)
        }
        without = [lock for lock in before if (lock.key, lock.message_id, lock.generation) in after]
        found = [lock for lock in without if not totals.get(lock.queue)]
        return Orphans(found, len(without) - len(found))

    def find_page_url(self, name: str) -> str | None:
        """Return its page in the management UI; `None` without a valid URL."""
        try:
            api = open_management(self._broker)
        except WorkshedError:
            return None
        return None if api is None else api.queue_page_url(name)
