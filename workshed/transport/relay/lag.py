"""Warn when jobs are sent late."""

import logging
import time
from datetime import timedelta

from workshed.database.postgres import Connection
from workshed.jobs.outbox import claims
from workshed.settings import settings
from workshed.transport.build import POSTGRESQL_URL

logger = logging.getLogger(__name__)

TOLERATED_LAG = timedelta(seconds=10)
POLL_S = 10.0
WARNING_PAUSE_S = 60.0
"""Shortest time between two warnings."""
TIME_SHARE = 0.05
"""Share of the time that checks may take, however many rows they have to scan."""


ADVICE = (
    "RabbitMQ refuses messages, or more jobs are due than the relays can publish; in that case "
    "start `workshed relay` on another host"
)
ADVICE_WITHOUT_RABBITMQ = (
    "no worker consumes its queue, or the workers are too slow: see `workshed queues`. Jobs of a "
    "worker that was killed wait for 10 s"
)


def warn_if_late(conn: Connection) -> float:
    """Warn while the oldest due row has waited longer than `TOLERATED_LAG`."""
    started = time.monotonic()
    lag = claims.oldest_due_age(conn)
    duration_s = time.monotonic() - started
    if lag <= TOLERATED_LAG:
        return max(POLL_S, duration_s / TIME_SHARE)
    alone = settings().broker_url.get_secret_value() == POSTGRESQL_URL
    advice = ADVICE_WITHOUT_RABBITMQ if alone else ADVICE
    logger.warning("the oldest due job has waited for %.0f s: %s", lag.total_seconds(), advice)
    return max(WARNING_PAUSE_S, duration_s / TIME_SHARE)
