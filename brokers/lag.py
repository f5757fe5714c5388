"""Say when jobs are sent late."""

import logging
from datetime import timedelta

from workshed.db import Connection
from workshed.jobs import windows

logger = logging.getLogger(__name__)

TOLERATED = timedelta(seconds=10)
LOOK_S = 10.0
QUIET_S = 60.0
"""No warning within this time after one."""


def watch_lag(conn: Connection) -> float:
    """Warn while the oldest due row has waited for longer than is tolerated."""
    lag = windows.lag(conn)
    if lag <= TOLERATED:
        return LOOK_S
    logger.warning(
        "the schedule is %.0f s late: RabbitMQ does not take what is due, or more is due than the "
        "relays can send; `workshed relay` on another host helps against the latter",
        lag.total_seconds(),
    )
    return QUIET_S
