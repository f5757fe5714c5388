"""Relay duty: measure how old the last daily report is."""

import math
import time

from shop import meters, report_freshness
from workshed.db import Connection

POLL_S = 10.0
MAX_TIME_SHARE = 0.01
"""Largest share of the time to spend on measuring."""


def measure_report_age(conn: Connection) -> float:
    """Measure once; needed because a job that dies before its report reports nothing itself."""
    started = time.monotonic()
    age = report_freshness.find_report_age(conn)
    meters.REPORT_AGE.set(math.nan if age is None else age.total_seconds())
    return max(POLL_S, (time.monotonic() - started) / MAX_TIME_SHARE)
