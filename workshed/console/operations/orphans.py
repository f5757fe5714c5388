"""The keys of unique jobs that are nowhere any more."""

from dataclasses import dataclass

from workshed.console.errors import ManagementError
from workshed.console.rabbitmq.management_api import Management
from workshed.db import Connection
from workshed.jobs.locks import unique
from workshed.jobs.locks.unique import UniqueLock


@dataclass(frozen=True, slots=True)
class Orphans:
    """Locks without a job, and how many could not be judged."""

    found: list[UniqueLock]
    unjudged: int
    """Their queues hold messages, and one of these may be theirs."""


def find_orphans(conn: Connection, api: Management | None) -> Orphans:
    """Find the locks whose job is neither in PostgreSQL nor in a queue of RabbitMQ.

    A job is always in one of the two: its row is deleted once RabbitMQ has confirmed it, and it is
    acked once its outcome is stored. So a lock that has no row before and after its queue was seen
    empty has no job. Raises `ManagementError`.
    """
    if api is None:
        raise ManagementError(
            "which jobs RabbitMQ holds only its management API tells: set WORKSHED_MANAGEMENT_URL"
        )
    before = unique.without_row(conn)
    totals = {name: one.get("messages", 0) for name, one in api.queues().items()}
    after = {(lock.key, lock.message_id, lock.generation) for lock in unique.without_row(conn)}
    without = [lock for lock in before if (lock.key, lock.message_id, lock.generation) in after]
    found = [lock for lock in without if not totals.get(lock.queue)]
    return Orphans(found, len(without) - len(found))
