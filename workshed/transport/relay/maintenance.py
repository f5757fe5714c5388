"""Delete what no copy of a job can ask for any more."""

from datetime import timedelta

from workshed.db import Connection
from workshed.jobs import steps
from workshed.jobs.control import cancel_rules, cancellations, workers
from workshed.jobs.history import results
from workshed.jobs.idempotency import once_keys, settled, starts
from workshed.jobs.locks import counters, limits, run_locks, unique
from workshed.jobs.outbox import relays

EVERY_S = 3600.0
BATCH = 1_000
SILENT_FOR = timedelta(hours=1)
"""Relays and workers are forgotten after this; long after what they had was taken again."""


class Maintenance:
    """Prunes fences, starts, keys, tombstones, rules, old locks and idle limits; any number may."""

    def __init__(self, retention: timedelta) -> None:
        """Delete what is older than `retention`."""
        self._retention = retention

    def __call__(self, conn: Connection) -> float:
        """Delete a batch of each, and the next one at once while there is more."""
        relays.forget(conn, SILENT_FOR)
        workers.forget(conn, SILENT_FOR)
        lasting = (settled, starts, once_keys, cancellations, cancel_rules, steps)
        deleted = [each.prune(conn, self._retention, BATCH) for each in lasting]
        deleted += [
            prune(conn, BATCH)
            for prune in (
                unique.prune,
                run_locks.prune,
                results.prune,
                counters.prune,
                limits.prune,
            )
        ]
        return 0.0 if BATCH in deleted else EVERY_S
