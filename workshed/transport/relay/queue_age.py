"""Estimate how long the oldest job of each queue has waited."""

import logging
import math
import time
from datetime import timedelta

from workshed.database.postgres import Connection, database_now
from workshed.jobs.control import workers
from workshed.metrics import meters
from workshed.transport.errors import BrokerUnreachableError, UnseenQueueError
from workshed.transport.publishing.queue_depth import QueueDepthClient

logger = logging.getLogger(__name__)

POLL_S = 5.0
ANSWER_TIMEOUT_S = 2.0
ABSENT_PAUSE_S = 60.0
"""Pause between questions about a missing or invisible queue, because RabbitMQ logs each one."""
TIME_SHARE = 0.01
"""Share of the time that estimates may take, however many jobs are due."""


class QueueAgeEstimator:
    """Asks RabbitMQ how many jobs of each queue are ready, and PostgreSQL how old they may be.

    RabbitMQ does not report the age of a message, and fetching one to look at it would mark it as
    redelivered. Workshed therefore estimates an upper bound: no ready message was published before
    `workshed.queues.oldest_possible_publish_at`. That is the later of two times: when the queue was
    last seen without a ready message, and when the newest message was published that any worker has
    received from it for the first time. A message that is requeued sets it back to its own publish
    time. While workers consume the queue in order, the bound is exact to one heartbeat (2 s).

    The bound also holds for paused queues and without workers: nothing passes there, so the age
    grows. With priorities, only messages of the lowest one count, because all others are delivered
    before them; but RabbitMQ before 4.3 gives a quorum queue's higher ones only two turns of three.
    """

    def __init__(self, publisher: QueueDepthClient) -> None:
        self._publisher = publisher
        self._ready_counts: dict[str, int] = {}
        self._absent_until: dict[str, float] = {}

    def __call__(self, conn: Connection) -> float:
        """Update the gauges of each queue that a worker or relay has declared."""
        started = time.monotonic()
        if died := workers.expire_silent(conn):
            logger.warning("%d workers sent no heartbeat for 10 s and are considered dead", died)
        ages = workers.waiting_ages(conn)
        duration_s = time.monotonic() - started
        try:
            for queue in ages:
                self._update_depth(conn, queue)
        except BrokerUnreachableError as err:
            logger.debug("%s", err)
            for queue in ages:  # the last known counts still serve to estimate ages
                meters.QUEUE_READY.set(math.nan, queue)
                meters.QUEUE_CONSUMERS.set(math.nan, queue)
        for queue, (passed, elsewhere) in ages.items():
            age = estimate_age(self._ready_counts.get(queue), passed, elsewhere)
            if age is not None:
                meters.OLDEST_WAITING.set(age.total_seconds(), queue)
        return max(POLL_S, duration_s / TIME_SHARE)

    def _update_depth(self, conn: Connection, queue: str) -> None:
        if self._absent_until.get(queue, 0.0) > time.monotonic():
            return
        before = database_now(conn)  # taken first, because later sends may be in the queue
        try:
            found = self._publisher.fetch_depth(queue, ANSWER_TIMEOUT_S)
        except UnseenQueueError as err:
            if queue not in self._absent_until:
                logger.warning("%s; the metrics lack its depth and age", err)
            self._absent_until[queue] = time.monotonic() + ABSENT_PAUSE_S
            meters.QUEUE_READY.set(math.nan, queue)
            meters.QUEUE_CONSUMERS.set(math.nan, queue)
            return
        if found is None:
            self._absent_until[queue] = time.monotonic() + ABSENT_PAUSE_S
        elif not found.ready:
            workers.record_empty_queue(conn, queue, before)
        ready, consumers = found or (0, 0)
        self._ready_counts[queue] = ready
        meters.QUEUE_READY.set(ready, queue)
        meters.QUEUE_CONSUMERS.set(consumers, queue)


def estimate_age(
    ready: int | None, passed: timedelta, elsewhere: timedelta | None
) -> timedelta | None:
    """Return the longest time that the oldest job of a queue may have waited; zero without jobs.

    `ready`: how many RabbitMQ has, or `None` if unknown; the ages are those of
    `workers.waiting_ages`. Returns `None` if nothing is known.
    """
    if ready is None and elsewhere is None:
        return None
    return max(passed if ready else timedelta(), elsewhere or timedelta(), timedelta())


def has_waiting_jobs(ready: int | None, elsewhere: timedelta | None) -> bool | None:
    """Return whether a job of a queue waits, by the values of `estimate_age`.

    Returns `None` if RabbitMQ was not asked, and no job waits elsewhere.
    """
    if elsewhere is not None:
        return True
    return None if ready is None else ready > 0
