"""Delete rows that no copy of a job, no user and no limit can need any more."""

from datetime import timedelta

from workshed.database.postgres import Connection
from workshed.jobs import steps
from workshed.jobs.control import (
    cancel_rules,
    cancellations,
    console_sessions,
    login_failures,
    workers,
)
from workshed.jobs.history import results
from workshed.jobs.idempotency import completed_generations, once_keys, starts
from workshed.jobs.locks import counters, limits, run_locks, unique
from workshed.jobs.outbox import relays

EVERY_S = 3600.0
BATCH = 1_000
SILENT_FOR = timedelta(minutes=5)
"""Silent relays and workers are deleted after this time, long after others took their jobs."""
SILENT_EVERY_S = 60.0


def delete_silent_processes(conn: Connection) -> float:
    """Delete workers and relays that crashed; one that lost PostgreSQL records itself again."""
    relays.prune_relays(conn, SILENT_FOR)
    workers.prune_workers(conn, SILENT_FOR)
    return SILENT_EVERY_S


class Maintenance:
    """Prunes rows of deduplication, cancellations, locks, logins; relays may run it in parallel."""

    def __init__(self, retention: timedelta) -> None:
        """Delete rows older than `retention`."""
        self._retention = retention

    def __call__(self, conn: Connection) -> float:
        """Delete a batch of each kind; due again at once if there is more."""
        deleted = [
            prune(conn, self._retention, BATCH)
            for prune in (
                completed_generations.prune_generations,
                starts.prune_starts,
                once_keys.prune_once_keys,
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
                console_sessions.prune_sessions,
                login_failures.prune_failures,
            )
        ]
        return 0.0 if BATCH in deleted else EVERY_S
