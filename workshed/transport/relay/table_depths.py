"""Gauges of the queues of an installation without RabbitMQ, whose jobs are all rows."""

import time
from collections import deque
from datetime import timedelta

from workshed.database.postgres import Connection
from workshed.jobs.control import workers
from workshed.jobs.outbox import table_load
from workshed.jobs.outbox.table_load import TableStatistics
from workshed.metrics import meters

POLL_S = 5.0
TIME_SHARE = 0.01
"""Share of the time that counting may take, however many jobs are due."""


RATE_SPAN = timedelta(minutes=1)


class TableGauges:
    """Counts the jobs that no worker has taken, and measures how fast jobs end."""

    def __init__(self) -> None:
        self._samples: deque[TableStatistics] = deque()

    def __call__(self, conn: Connection) -> float:
        """Update the gauges; return the pause before the next time."""
        started = time.monotonic()
        collect_table_depths(conn)
        self._collect_load(table_load.read_statistics(conn))
        return max(POLL_S, (time.monotonic() - started) / TIME_SHARE)

    def _collect_load(self, now: TableStatistics) -> None:
        samples = self._samples
        if samples and now.deleted < samples[-1].deleted:  # the statistics were reset
            samples.clear()
        samples.append(now)
        while samples[0] is not now and samples[1].at <= now.at - RATE_SPAN:
            samples.popleft()
        span_s = (now.at - samples[0].at).total_seconds()
        if span_s > 0:
            meters.SCHEDULE_ENDED_RATE.set((now.deleted - samples[0].deleted) / span_s)
        meters.SCHEDULE_DEAD_ROWS.set(now.dead_rows)
        meters.SCHEDULE_INDEX_BYTES.set(now.index_bytes)


def collect_table_depths(conn: Connection) -> None:
    """Count the jobs of each queue that no worker has taken, and measure how long they wait."""
    query = """
        SELECT name,
               (SELECT count(*) FROM workshed.schedule AS s
                 WHERE s.queue = q.name AND s.claimed_by IS NULL AND s.sent_at IS NULL
                   AND s.due_at <= workshed.now()),
               (SELECT count(*) FROM workshed.workers AS w
                 WHERE q.name = ANY (w.queues) AND w.expired_at IS NULL)
          FROM workshed.queues AS q
    """
    for queue, ready, consumers in conn.execute(query):
        meters.QUEUE_READY.set(ready, queue)
        meters.QUEUE_CONSUMERS.set(consumers, queue)
    for queue, (_, waited) in workers.waiting_ages(conn).items():
        age_s = 0.0 if waited is None else max(waited.total_seconds(), 0.0)
        meters.OLDEST_WAITING.set(age_s, queue)
