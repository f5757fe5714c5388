"""Which records expire, and how they are deleted in small batches."""

from collections.abc import Callable
from datetime import timedelta

from workshed import db
from workshed.database.postgres import Connection
from workshed.jobs.batches import progress
from workshed.jobs.context import checkpoint
from workshed.jobs.dead import dead_jobs
from workshed.jobs.history import attempts, run_minutes, runs
from workshed.jobs.periodic import periodic_jobs, periodic_runs
from workshed.settings import Settings
from workshed.value_class import value_class

BATCH = 1_000
"""Rows that are deleted in one transaction."""

Prune = Callable[[Connection, timedelta, int], int]
"""Deletes rows of at least this age, at most so many; returns how many."""


@value_class
class RetentionRule:
    """A kind of record that expires."""

    name: str
    prune: Prune
    older_than: timedelta
    batch: int = BATCH
    """How many are deleted in one transaction."""


def retention_rules(config: Settings) -> list[RetentionRule]:
    """Return all rules, in the order in which they are applied.

    Dead jobs come before their attempts and batches, which are kept as long as the dead jobs.
    """
    return [
        RetentionRule("dead jobs", dead_jobs.prune_dead_jobs, config.dead_retention),
        RetentionRule("attempts", attempts.prune_attempts, config.attempt_retention),
        RetentionRule("batches", progress.prune_batches, config.attempt_retention),
        RetentionRule("periodic jobs", periodic_jobs.prune_periodic_jobs, config.attempt_retention),
        RetentionRule("periodic runs", periodic_runs.prune_periodic_runs, config.attempt_retention),
        RetentionRule("run minutes", run_minutes.prune_run_minutes, config.run_minutes_retention),
        # A day at a time, because each drop briefly locks out readers of the history.
        RetentionRule("history", runs.prune_runs, config.runs_retention, batch=1),
    ]


def claim_batch(conn: Connection, within: timedelta) -> bool:
    """Claim the rest of this transaction for one batch; False while another relay has one.

    PostgreSQL ends a statement of the batch that takes longer than `within`.
    """
    query = "SELECT pg_try_advisory_xact_lock(hashtextextended('workshed.pruned', 0))"
    if conn.execute(query).fetchone() != (True,):
        return False
    span = f"{within // timedelta(milliseconds=1)}ms"
    conn.execute("SELECT set_config('statement_timeout', %s, true)", (span,))
    return True


def record_pruned(conn: Connection, name: str) -> None:
    """Record that all expired records of this kind are deleted."""
    query = """
        INSERT INTO workshed.pruned (name) VALUES (%s)
        ON CONFLICT (name) DO UPDATE SET done_at = EXCLUDED.done_at
    """
    conn.execute(query, (name,))


def pruned_ages(conn: Connection) -> dict[str, timedelta]:
    """Return how long ago all expired records were deleted, by kind."""
    query = "SELECT name, workshed.now() - done_at FROM workshed.pruned ORDER BY done_at, name"
    return dict(conn.execute(query).fetchall())


def prune_all(prune: Prune, older_than: timedelta) -> int:
    """Delete all older records in batches, each in its own transaction; return how many."""
    total, deleted = 0, BATCH
    while deleted == BATCH:
        checkpoint()
        with db.transaction() as conn:
            deleted = prune(conn, older_than, BATCH)
        total += deleted
    return total
