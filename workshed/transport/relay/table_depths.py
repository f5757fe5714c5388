"""Gauges of the queues of an installation without RabbitMQ, whose jobs are all rows."""

import time

from workshed.database.postgres import Connection
from workshed.jobs.control import workers
from workshed.metrics import meters

POLL_S = 5.0
TIME_SHARE = 0.01
"""Share of the time that counting may take, however many jobs are due."""


def collect_table_depths(conn: Connection) -> float:
    """Count the jobs of each queue that no worker has taken, and measure how long they wait."""
    started = time.monotonic()
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
    return max(POLL_S, (time.monotonic() - started) / TIME_SHARE)
