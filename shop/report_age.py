"""Relay duty: measure how old the last daily report is."""

import math
import time

from shop import meters, report_freshness
from workshed.db import Connection

LOOK_S = 10.0
SHARE = 0.01
"""Largest share of the time to spend on measuring."""


def tell_report_age(conn: Connection) -> float:
    """Measure once; needed because a job that dies before its report reports nothing itself."""
    started = time.monotonic()
    age = report_freshness.find(conn)
    meters.REPORT_AGE.set(math.nan if age is None else age.total_seconds())
    return max(LOOK_S, (time.monotonic() - started) / SHARE)
