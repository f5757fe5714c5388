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
    """Prunes what deduplication, cancellations and locks keep; any number of relays may do it."""

    def __init__(self, retention: timedelta) -> None:
        """Delete what is older than `retention`."""
        self._retention = retention

    def __call__(self, conn: Connection) -> float:
        """Delete a batch of each, and the next one at once while there is more."""
        relays.prune_relays(conn, SILENT_FOR)
        workers.prune_workers(conn, SILENT_FOR)
        deleted = [
            prune(conn, self._retention, BATCH)
            for prune in (
                settled.prune_generations,
                starts.prune_starts,
                once_keys.prune_keys,
                cancellations.prune_cancellations,
                cancel_rules.prune_rules,
                steps.prune_steps,
            )
        ]
        deleted += [
            prune(conn, BATCH)
            for prune in (
                unique.prune_unique_locks,
                run_locks.prune_run_locks,
                results.prune_results,
                counters.prune_counters,
                limits.prune_limits,
            )
        ]
        return 0.0 if BATCH in deleted else EVERY_S
