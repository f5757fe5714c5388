"""Find unique keys whose jobs no longer exist."""

from workshed.console.errors import ManagementError
from workshed.console.rabbitmq.management_api import ManagementApi
from workshed.database.postgres import Connection
from workshed.jobs.locks import unique
from workshed.jobs.locks.unique import UniqueLock
from workshed.value_class import value_class


@value_class
class Orphans:
    """Locks without a job, and the number of locks that could not be judged."""

    locks: list[UniqueLock]
    unjudged: int
    """Their queues hold messages, which may include their jobs."""


def find_orphans(conn: Connection, api: ManagementApi | None) -> Orphans:
    """Find the locks whose job is neither in PostgreSQL nor in a queue of RabbitMQ.

    A job is always in one of the two: its row is deleted only after RabbitMQ has confirmed it, and
    its message is acked only after its outcome is stored. So a lock that has no row both before and
    after its queue was seen empty has no job. Raises `ManagementError`.
    """
    if api is None:
        raise ManagementError("this needs RabbitMQ's management API: set WORKSHED_MANAGEMENT_URL")
    before = unique.list_locks_without_row(conn)
    totals = {name: one.get("messages", 0) for name, one in api.queues().items()}
    after = {
        (lock.key, lock.message_id, lock.generation) for lock in unique.list_locks_without_row(conn)
    }
    without = [lock for lock in before if (lock.key, lock.message_id, lock.generation) in after]
    found = [lock for lock in without if not totals.get(lock.queue)]
    return Orphans(found, len(without) - len(found))
