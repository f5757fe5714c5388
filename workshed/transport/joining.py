"""Wait until a queue is worked off, as test suites of dramatiq's users do."""

import time
from typing import NamedTuple

from dramatiq.errors import QueueJoinTimeout

from workshed import db
from workshed.queues import Queue
from workshed.transport.consuming.execution import JobExecutor
from workshed.transport.errors import BrokerUnreachableError
from workshed.transport.publishing.queue_depth import QueueDepthClient

ANSWER_S = 10.0
IDLE_S = 0.05
"""Between two looks."""
LOOKS = 5
"""As many in a row find nothing: a message may be on its way from RabbitMQ to a worker."""


class JoinCounts(NamedTuple):
    """What there is of a queue, in dramatiq's order."""

    ready: int
    """In RabbitMQ, with no worker."""
    stored: int
    """In PostgreSQL: delayed, to be retried, or not sent yet."""
    dead: int
    """In the dead table, and in RabbitMQ's dead queue."""


def count_queue(publisher: QueueDepthClient, queue: Queue) -> JoinCounts:
    """Count what there is of a queue; raises `BrokerUnreachableError`."""
    query = """
        SELECT (SELECT count(*) FROM workshed.schedule WHERE queue = %(name)s),
               (SELECT count(*) FROM workshed.dead WHERE queue = %(name)s)
    """
    with db.transaction() as conn:
        [(stored, dead)] = conn.execute(query, {"name": queue.name})
    # After the rows: what a relay sends meanwhile is counted twice, and nothing is missed.
    ready, rejected = (_waiting(publisher, name) for name in (queue.name, queue.dead))
    return JoinCounts(ready, stored, dead + rejected)


def join_queue(
    publisher: QueueDepthClient, queue: Queue, execution: JobExecutor, timeout_ms: int | None
) -> None:
    """Return once nothing of a queue waits, is stored, or runs in this process.

    Raises `QueueJoinTimeout`. Dead jobs are not waited for; delays and retries are, however far
    ahead they are due.
    """
    deadline = None if timeout_ms is None else time.monotonic() + timeout_ms / 1000
    looks = 0
    while looks < LOOKS:
        if deadline is not None and time.monotonic() >= deadline:
            raise QueueJoinTimeout(queue.name)  # type: ignore[no-untyped-call]  # dramatiq's
        is_idle = not execution.has(queue.name) and count_queue(publisher, queue)[:2] == (0, 0)
        looks = looks + 1 if is_idle else 0
        time.sleep(IDLE_S)


def _waiting(publisher: QueueDepthClient, name: str) -> int:
    """Ask RabbitMQ, also where this process has not published yet and only begins to connect."""
    deadline = time.monotonic() + ANSWER_S
    while True:
        try:
            return publisher.waiting(name, ANSWER_S) or 0
        except BrokerUnreachableError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(IDLE_S)
