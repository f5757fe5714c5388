"""Tell how old the last daily report is."""

import math
import time

from shop import meters, report_freshness
from workshed.db import Connection

LOOK_S = 10.0
SHARE = 0.01
"""Share of the time that looks may take."""


def tell_report_age(conn: Connection) -> float:
    """Look once: a job that dies before it has made its report tells nothing by itself."""
    started = time.monotonic()
    age = report_freshness.find(conn)
    meters.REPORT_AGE.set(math.nan if age is None else age.total_seconds())
    return max(LOOK_S, (time.monotonic() - started) / SHARE)
