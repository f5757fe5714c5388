"""Warn when jobs are sent late."""

import logging
import time
from datetime import timedelta

from workshed.database.postgres import Connection
from workshed.jobs.outbox import claims

logger = logging.getLogger(__name__)

TOLERATED_LAG = timedelta(seconds=10)
POLL_S = 10.0
WARNING_PAUSE_S = 60.0
"""Shortest time between two warnings."""
TIME_SHARE = 0.05
"""Share of the time that checks may take, however many rows they have to scan."""


def warn_if_late(conn: Connection) -> float:
    """Warn while the oldest due row has waited longer than `TOLERATED_LAG`."""
    started = time.monotonic()
    lag = claims.oldest_due_age(conn)
    duration_s = time.monotonic() - started
    if lag <= TOLERATED_LAG:
        return max(POLL_S, duration_s / TIME_SHARE)
    logger.warning(
        "the oldest due job has waited for %.0f s: RabbitMQ refuses messages, or more jobs are due "
        "than the relays can publish; in that case start `workshed relay` on another host",
        lag.total_seconds(),
    )
    return max(WARNING_PAUSE_S, duration_s / TIME_SHARE)
