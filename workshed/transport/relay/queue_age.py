"""Tell for how long the oldest job of each queue waits."""

import logging
import math
import time
from datetime import timedelta

from workshed.db import Connection
from workshed.jobs.control import workers
from workshed.jobs.outbox import claims
from workshed.metrics import meters
from workshed.transport.errors import BrokerUnreachableError, UnseenQueueError
from workshed.transport.publishing.queue_depth import QueueDepthClient

logger = logging.getLogger(__name__)

LOOK_S = 5.0
ANSWER_S = 2.0
ABSENT_S = 60.0
"""Between questions for a queue that is not there, or not to be seen: RabbitMQ logs each."""
SHARE = 0.01
"""Share of the time that looks may take, however many jobs are due."""


class QueueAgeEstimator:
    """Asks RabbitMQ how much of each queue no worker has, and PostgreSQL for how long.

    RabbitMQ does not tell the age of a message, and who takes it out to look marks it as delivered
    before. What is known: nothing that waits there was published before
    `workshed.queues.oldest_possible_publish_at`, the last time at which the queue was seen without
    a ready message, or the publish of the newest message that any worker got from it for the first
    time, if that was later. A message that goes back sets it back to its own publish. So what waits
    there is no older than that: an upper bound, which is exact to a beat (2 s) while workers take
    from the queue in order.

    It holds for paused queues and where no worker is: nothing passes there, so the age grows. Of
    messages with priorities only the lowest count as proof, since all others come before them; but
    RabbitMQ before 4.3 gives a quorum queue's higher ones only two turns of three.
    """

    def __init__(self, publisher: QueueDepthClient) -> None:
        """Ask over this publisher's connection."""
        self._publisher = publisher
        self._ready: dict[str, int] = {}
        self._absent: dict[str, float] = {}

    def __call__(self, conn: Connection) -> float:
        """Look at each queue that a worker or relay has declared."""
        started = time.monotonic()
        if died := workers.expire_silent(conn):
            logger.warning("%d workers have been silent for 10 s, and are taken for dead", died)
        ages = workers.waiting_ages(conn)
        duration_s = time.monotonic() - started
        try:
            for queue in ages:
                self._ask(conn, queue)
        except BrokerUnreachableError as err:
            logger.debug("%s", err)
            for queue in ages:  # what was there stays there, for as long as nothing else is known
                meters.READY.set(math.nan, queue)
                meters.CONSUMERS.set(math.nan, queue)
        for queue, (passed, elsewhere) in ages.items():
            age = estimate_age(self._ready.get(queue), passed, elsewhere)
            if age is not None:
                meters.OLDEST.set(age.total_seconds(), queue)
        return max(LOOK_S, duration_s / SHARE)

    def _ask(self, conn: Connection, queue: str) -> None:
        if self._absent.get(queue, 0.0) > time.monotonic():
            return
        before = claims.database_now(conn)  # before the question: what is sent later may be there
        try:
            found = self._publisher.depth(queue, ANSWER_S)
        except UnseenQueueError as err:
            if queue not in self._absent:
                logger.warning("%s; the metrics lack its depth and age", err)
            self._absent[queue] = time.monotonic() + ABSENT_S
            meters.READY.set(math.nan, queue)
            meters.CONSUMERS.set(math.nan, queue)
            return
        if found is None:
            self._absent[queue] = time.monotonic() + ABSENT_S
        elif not found.ready:
            workers.seen_empty(conn, queue, before)
        ready, consumers = found or (0, 0)
        self._ready[queue] = ready
        meters.READY.set(ready, queue)
        meters.CONSUMERS.set(consumers, queue)


def estimate_age(
    ready: int | None, passed: timedelta, elsewhere: timedelta | None
) -> timedelta | None:
    """Return for how long the oldest job of a queue waits, at most; zero where none does.

    `ready`: how many RabbitMQ has, `None` where that is not known; the ages are those of
    `workers.waiting_ages`. `None` where nothing is known.
    """
    if ready is None and elsewhere is None:
        return None
    return max(passed if ready else timedelta(), elsewhere or timedelta(), timedelta())
