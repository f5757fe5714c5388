"""Wait until a queue is empty, as test suites written for dramatiq do."""

import functools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from dramatiq.errors import QueueJoinTimeout

from workshed import db
from workshed.queues import Queue
from workshed.transport.errors import BrokerUnreachableError
from workshed.transport.publishing.queue_depth import QueueDepthClient

if TYPE_CHECKING:
    from workshed.transport.consuming.execution import JobExecutor

ANSWER_TIMEOUT_S = 10.0
POLL_S = 0.05
"""Pause between two looks."""
EMPTY_POLLS = 5
"""This many looks in a row must find nothing: a message may be between RabbitMQ and a worker."""


class JoinCounts(NamedTuple):
    """Counts of a queue's messages, in dramatiq's order."""

    ready: int
    """In RabbitMQ, not delivered to a worker."""
    stored: int
    """In PostgreSQL: delayed, waiting for a retry, or not published yet."""
    dead: int
    """In the dead table, and in RabbitMQ's dead queue."""


def count_queue(publisher: QueueDepthClient, queue: Queue) -> JoinCounts:
    """Count a queue's messages; raises `BrokerUnreachableError`."""
    query = """
        SELECT (SELECT count(*) FROM workshed.schedule WHERE queue = %(name)s),
               (SELECT count(*) FROM workshed.dead WHERE queue = %(name)s)
    """
    with db.transaction() as conn:
        [(stored, dead)] = conn.execute(query, {"name": queue.name})
    # After the rows, so that what a relay sends meanwhile is counted twice rather than not at all.
    ready, rejected = (_count_ready(publisher, name) for name in (queue.name, queue.dead_name))
    return JoinCounts(ready, stored, dead + rejected)


def count_rows(queue: str) -> JoinCounts:
    """Count the messages of a queue that is in PostgreSQL alone."""
    query = """
        SELECT (SELECT count(*) FROM workshed.schedule
                 WHERE queue = %(name)s AND due_at <= workshed.now()),
               (SELECT count(*) FROM workshed.schedule
                 WHERE queue = %(name)s AND due_at > workshed.now()),
               (SELECT count(*) FROM workshed.dead WHERE queue = %(name)s)
    """
    with db.transaction() as conn:
        [(ready, stored, dead)] = conn.execute(query, {"name": queue})
    return JoinCounts(ready, stored, dead)


def join_queue(
    publisher: QueueDepthClient, queue: Queue, execution: "JobExecutor", timeout_ms: int | None
) -> None:
    """Return once no job of a queue waits, is stored, or runs in this process.

    Also waits for delayed jobs and retries, whenever they are due, but not for dead jobs. Raises
    `QueueJoinTimeout`.
    """
    count = functools.partial(count_queue, publisher, queue)
    wait_until_empty(count, queue.name, execution, timeout_ms)


def wait_until_empty(
    count: Callable[[], JoinCounts], queue: str, execution: "JobExecutor", timeout_ms: int | None
) -> None:
    """Return once `count` and the jobs of this process are zero several times in a row."""
    deadline = None if timeout_ms is None else time.monotonic() + timeout_ms / 1000
    looks = 0
    while looks < EMPTY_POLLS:
        if deadline is not None and time.monotonic() >= deadline:
            raise QueueJoinTimeout(queue)  # type: ignore[no-untyped-call]  # dramatiq's
        is_idle = not execution.has_jobs(queue) and count()[:2] == (0, 0)
        looks = looks + 1 if is_idle else 0
        time.sleep(POLL_S)


def _count_ready(publisher: QueueDepthClient, name: str) -> int:
    """Ask RabbitMQ; waits if this process has not published before and is still connecting."""
    deadline = time.monotonic() + ANSWER_TIMEOUT_S
    while True:
        try:
            return publisher.count_ready(name, ANSWER_TIMEOUT_S) or 0
        except BrokerUnreachableError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(POLL_S)
