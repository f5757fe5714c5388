"""Tell what the calendar owes: runs that nobody has made, and the daily report."""

import math
import time

from workshed import report_ages
from workshed.db import Connection
from workshed.jobs import recurring
from workshed.metrics import meters

LOOK_S = 10.0
SHARE = 0.01
"""Share of the time that looks may take."""


def tell_lateness(conn: Connection) -> float:
    """Look once: what makes no run, and what dies before its report, tells nothing by itself."""
    started = time.monotonic()
    meters.RECURRING_LATE.set(recurring.late(conn).total_seconds())
    age = report_ages.find(conn)
    meters.REPORT_AGE.set(math.nan if age is None else age.total_seconds())
    return max(LOOK_S, (time.monotonic() - started) / SHARE)
