"""Resend jobs that a classic queue has lost: its confirm does not mean that they are on disk."""

import logging
from collections.abc import Mapping
from datetime import timedelta

from workshed.database.postgres import Connection, database_now
from workshed.jobs.outbox import claims
from workshed.queues import Queue
from workshed.transport.amqp.redeclaration import list_used_queues, redeclare_lost
from workshed.transport.errors import BrokerUnreachableError, UnseenQueueError
from workshed.transport.publishing.queue_depth import QueueDepthClient

logger = logging.getLogger(__name__)

POLL_S = 5.0
ANSWER_TIMEOUT_S = 2.0


class ClassicQueueRedelivery:
    """Notes when a queue was seen empty, and resends jobs without an outcome long after that.

    A job that was sent before such a moment is held by a worker since then, or lost. A job that
    runs for longer than `after` therefore gets a copy, which is dropped if the job has run.
    """

    def __init__(
        self,
        publisher: QueueDepthClient,
        declared: Mapping[str, Queue],
        after: timedelta,
    ) -> None:
        """Resend jobs `after` this time, through this publisher."""
        self._publisher = publisher
        self._declared_queues = declared
        self._resend_after = after
        self._unseen_queues: set[str] = set()

    def __call__(self, conn: Connection) -> float:
        """Check each queue that has rows kept until their outcome."""
        looks = [self._check_queue(conn, queue) for queue in claims.list_kept_queues(conn)]
        if looks and not any(looks):
            return POLL_S
        count = claims.release_lost(conn, self._resend_after)
        if count:
            after_s = self._resend_after.total_seconds()
            logger.warning("resending %d jobs that are lost, or run for over %g s", count, after_s)
        return 0.0 if count >= claims.BATCH else POLL_S

    def _check_queue(self, conn: Connection, queue: str) -> bool:
        """Note if the queue is empty; returns False if that is unknown."""
        before = database_now(
            conn
        )  # before the question, so that jobs sent meanwhile do not count as lost
        try:
            waiting = self._publisher.count_ready(queue, ANSWER_TIMEOUT_S)
        except BrokerUnreachableError as err:  # or the node of this queue is down
            logger.debug("%s", err)
            return False
        except UnseenQueueError as err:
            if queue not in self._unseen_queues:
                self._unseen_queues.add(queue)
                logger.error("%s; jobs that this queue loses are not sent again", err)  # noqa: TRY400 -- no trace
            return False
        if waiting is None:
            logger.warning("queue %s no longer exists on RabbitMQ; its messages are lost", queue)
            # The other queues may be gone as well.
            lost = [self._declared_queues[queue]] if queue in self._declared_queues else []
            others = [
                one for one in list_used_queues(conn, self._declared_queues) if one.name != queue
            ]
            redeclare_lost(self._publisher.urls, lost + others)
        if not waiting:
            claims.mark_seen_empty(conn, queue, before)
        return True
