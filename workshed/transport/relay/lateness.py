"""Measure how late periodic jobs are."""

import time

from workshed.database.postgres import Connection
from workshed.jobs.periodic import periodic_jobs
from workshed.metrics import meters

POLL_S = 10.0
TIME_SHARE = 0.01
"""Share of the time that measuring may take."""


def collect_periodic_lateness(conn: Connection) -> float:
    """Measure once. Relays do this, because a clock that creates no runs cannot report it."""
    started = time.monotonic()
    meters.PERIODIC_LATE.set(periodic_jobs.oldest_overdue(conn).total_seconds())
    return max(POLL_S, (time.monotonic() - started) / TIME_SHARE)
