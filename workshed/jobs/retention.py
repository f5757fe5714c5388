"""Delete what is older than it is kept for, in small batches."""

from collections.abc import Callable, Iterator
from datetime import timedelta

from workshed import db
from workshed.db import Connection
from workshed.jobs import attempts, dead, occurrences, recurring
from workshed.jobs.current import checkpoint
from workshed.settings import Settings

BATCH = 1_000

Prune = Callable[[Connection, timedelta, int], int]
"""Deletes at most so many rows that are older; returns how many."""


def rules(config: Settings) -> Iterator[tuple[str, Prune, timedelta]]:
    """Yield what is deleted, how, and after how long.

    The dead before their attempts, which are kept as long as they are. Fences are no matter of
    days, so relays delete them every hour.
    """
    yield "dead", dead.prune, config.dead_retention
    yield "attempts", attempts.prune, config.attempt_retention
    yield "recurring", recurring.prune, config.attempt_retention
    yield "occurrences", occurrences.prune, config.attempt_retention


def prune(config: Settings) -> dict[str, int]:
    """Delete all of it, each batch in a transaction of its own; return how many of each."""
    return {name: _all(rule, older_than) for name, rule, older_than in rules(config)}


def _all(rule: Prune, older_than: timedelta) -> int:
    total, deleted = 0, BATCH
    while deleted == BATCH:
        checkpoint()
        with db.transaction() as conn:
            deleted = rule(conn, older_than, BATCH)
        total += deleted
    return total
