"""Call those who wait for a limit, where only time has changed it."""

import time

from workshed.db import Connection
from workshed.jobs.locks import limits

LOOK_S = 1.0
SHARE = 0.05
"""Share of the time that looks may take, however many limits are waited for."""


def wake_limit_waiters(conn: Connection) -> float:
    """Look at each limit that jobs wait for; any number may.

    A job that gives a slot back calls the next one itself. Nobody does so when the lease of a dead
    worker runs out, when the job that was called does not come, or is cancelled while it waits.
    """
    started = time.monotonic()
    for key in limits.keys_with_waiters(conn):
        limits.offer_slots(conn, key)
    return max(LOOK_S, (time.monotonic() - started) / SHARE)
