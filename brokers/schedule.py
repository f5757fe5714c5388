"""Send a job together with your own data: both commit, or neither."""

from datetime import datetime, timedelta
from typing import Any

import dramatiq

from brokers.build import broker
from workshed.db import Connection
from workshed.errors import WorkshedError
from workshed.jobs import cancels
from workshed.jobs import schedule as rows

cancel = cancels.cancel
run_now = rows.run_now
move = rows.move
find = rows.find

ORIGIN = "transaction"


def send(
    conn: Connection,
    message: dramatiq.Message[Any],
    *,
    delay: timedelta | None = None,
    at: datetime | None = None,
) -> dramatiq.Message[Any]:
    """Store a message in the caller's transaction; a relay sends it once that has committed.

    `schedule.send(conn, send_welcome_email.message(7), delay=timedelta(days=3))`: due after
    `delay`, or at `at` (with a time zone), or at once. `conn` is a psycopg connection. What
    `actor.send` would refuse is refused here too, and nothing is stored then.
    """
    if delay is not None and at is not None:
        raise WorkshedError("give `delay` or `at`, not both")
    if at is not None and at.tzinfo is None:
        raise WorkshedError(f"`at` needs a time zone: {at.isoformat()}")
    message = message.copy(options={"origin": ORIGIN})
    reason: rows.Reason = "send" if delay is None and at is None else "delay"
    broker().store(conn, message, delay=delay or timedelta(), at=at, reason=reason)
    return message
