"""Measure how late the periodic jobs are."""

import time

from workshed.db import Connection
from workshed.jobs.periodic import periodic_jobs
from workshed.metrics import meters

LOOK_S = 10.0
SHARE = 0.01
"""Share of the time that looks may take."""


def collect_periodic_lateness(conn: Connection) -> float:
    """Look once: a clock that makes no run tells nothing by itself."""
    started = time.monotonic()
    meters.PERIODIC_LATE.set(periodic_jobs.oldest_overdue(conn).total_seconds())
    return max(LOOK_S, (time.monotonic() - started) / SHARE)
