"""Warn when jobs are sent late."""

import logging
import time
from datetime import timedelta

from workshed.db import Connection
from workshed.jobs.outbox import claims

logger = logging.getLogger(__name__)

TOLERATED = timedelta(seconds=10)
LOOK_S = 10.0
QUIET_S = 60.0
"""Shortest time between two warnings."""
SHARE = 0.05
"""Share of the time that checks may take, however many rows they have to scan."""


def warn_if_late(conn: Connection) -> float:
    """Warn while the oldest due row has waited longer than `TOLERATED`."""
    started = time.monotonic()
    lag = claims.oldest_due_age(conn)
    duration_s = time.monotonic() - started
    if lag <= TOLERATED:
        return max(LOOK_S, duration_s / SHARE)
    logger.warning(
        "the schedule is %.0f s late: RabbitMQ does not take the jobs that are due, or they are "
        "more than the relays can send; in that case start `workshed relay` on another host",
        lag.total_seconds(),
    )
    return max(QUIET_S, duration_s / SHARE)
