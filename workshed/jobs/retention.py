"""Delete what is older than it is kept for, in small batches."""

import logging
from collections.abc import Callable, Iterator
from datetime import timedelta

from psycopg.errors import LockNotAvailable

from workshed import db
from workshed.db import Connection
from workshed.jobs import attempts, batch_rows, dead, occurrences, recurring, runs
from workshed.jobs.current import checkpoint
from workshed.settings import Settings

logger = logging.getLogger(__name__)

BATCH = 1_000

Prune = Callable[[Connection, timedelta, int], int]
"""Deletes at most so many rows that are older; returns how many."""


def rules(config: Settings) -> Iterator[tuple[str, Prune, timedelta]]:
    """Yield what is deleted, how, and after how long.

    The dead before their attempts and batches, which are kept as long as they are. Fences are no
    matter of days, so relays delete them every hour.
    """
    yield "dead", dead.prune, config.dead_retention
    yield "attempts", attempts.prune, config.attempt_retention
    yield "batches", batch_rows.prune, config.attempt_retention
    yield "recurring", recurring.prune, config.attempt_retention
    yield "occurrences", occurrences.prune, config.attempt_retention


def prune(config: Settings) -> dict[str, int]:
    """Delete all of it, each batch in a transaction of its own; return how many of each."""
    found = {name: all_of(rule, older_than) for name, rule, older_than in rules(config)}
    return {**found, "days of runs": _days_of_runs(config.runs_retention)}


def _days_of_runs(older_than: timedelta) -> int:
    """Forget the history by whole days; what somebody reads now is left to the next night."""
    try:
        with db.transaction() as conn:
            return runs.prune(conn, older_than)
    except LockNotAvailable:
        logger.warning("old runs are left for now, since somebody reads them")
        return 0


def all_of(rule: Prune, older_than: timedelta) -> int:
    """Delete what a rule deletes, batch after batch, each in a transaction; return how many."""
    total, deleted = 0, BATCH
    while deleted == BATCH:
        checkpoint()
        with db.transaction() as conn:
            deleted = rule(conn, older_than, BATCH)
        total += deleted
    return total
