"""Gauges of waiting and dead jobs, which every relay sets alike."""

import math
import time
from collections import Counter

from workshed.database.postgres import Connection
from workshed.jobs.control import queues
from workshed.jobs.dead import dead_jobs
from workshed.jobs.outbox import claims
from workshed.metrics import meters
from workshed.metrics.meters import OTHER

POLL_S = 10.0
TIME_SHARE = 0.01
"""Share of the time that counting may take: a million rows are counted less often."""
STATES = ("due", "later", "sent")


def collect_outbox_gauges(conn: Connection) -> float:
    """Count the rows of the schedule and of the dead table.

    By queue, for the queues that a worker or relay has declared; rows of others count as `other`.
    """
    started = time.monotonic()
    meters.SCHEDULE_LAG.set(claims.oldest_due_age(conn).total_seconds())
    known = {one.name for one in queues.list_queues(conn)}
    waiting: Counter[tuple[str, str]] = Counter()
    for (queue, state), count in claims.count_by_state(conn).items():
        waiting[queue if queue in known else OTHER, state] += count
    died: Counter[str] = Counter()
    for queue, count in dead_jobs.count_dead_by_queue(conn).items():
        died[queue if queue in known else OTHER] += count
    ages: dict[str, float] = {}
    for queue, age in dead_jobs.newest_death_ages(conn).items():
        name = queue if queue in known else OTHER
        ages[name] = min(age.total_seconds(), ages.get(name, math.inf))
    for queue in (*known, OTHER):  # also if the count is 0
        for state in STATES:
            meters.SCHEDULE_JOBS.set(waiting[queue, state], queue, state)
        meters.DEAD_JOBS.set(died[queue], queue)
        meters.DEAD_AGE.set(ages.get(queue, math.nan), queue)
    return max(POLL_S, (time.monotonic() - started) / TIME_SHARE)
