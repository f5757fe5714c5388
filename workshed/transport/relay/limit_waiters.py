"""Wake jobs that wait for a limit which has changed only by the passage of time."""

import time

from workshed.database.postgres import Connection
from workshed.jobs.locks import limits

POLL_S = 1.0
TIME_SHARE = 0.05
"""Share of the time that checks may take, however many limits have waiting jobs."""


def wake_limit_waiters(conn: Connection) -> float:
    """Check each limit that jobs wait for; relays may run this in parallel.

    A job that releases a slot wakes the next one itself. This duty handles the other cases: the
    lease of a dead worker expires, or a job that was woken does not start, or is cancelled while
    it waits.
    """
    started = time.monotonic()
    for key in limits.keys_with_waiters(conn):
        limits.offer_slots(conn, key)
    return max(POLL_S, (time.monotonic() - started) / TIME_SHARE)
