"""Delete the records of jobs that have expired: history, attempts, dead jobs, batches, runs."""

import logging
from collections.abc import Sequence
from datetime import timedelta

from psycopg.errors import LockNotAvailable, QueryCanceled

from workshed.db import Connection
from workshed.jobs.maintenance import retention
from workshed.jobs.maintenance.retention import RetentionRule

logger = logging.getLogger(__name__)

EVERY_S = 3600.0
PAUSE_S = 0.05
"""Pause between two batches, so that jobs can use the disk."""
TURN_S = 1.0
"""Pause while another relay is pruning."""
LONGEST = timedelta(seconds=5)
"""Limit of one statement. A batch that takes longer is rolled back, and retried smaller."""
SMALLEST = 10


class Pruner:
    """Deletes expired rows every hour, one batch of one kind at a time.

    Several relays take turns.
    """

    def __init__(self, rules: Sequence[RetentionRule]) -> None:
        """Begin with the first of these rules."""
        self._rules = rules
        self._number = 0
        self._shrunk: dict[str, int] = {}
        """Sizes of batches that took too long, by kind."""
        self._deleted: dict[str, int] = {}

    def __call__(self, conn: Connection) -> float:
        """Delete one batch; return in how many seconds the next one is due."""
        rule = self._rules[self._number]
        batch = self._shrunk.get(rule.name, rule.batch)
        try:
            with conn.transaction():
                if not retention.claim_batch(conn, LONGEST):
                    return TURN_S
                deleted = rule.prune(conn, rule.older_than, batch)
                if deleted < batch:
                    retention.record_pruned(conn, rule.name)
        except (QueryCanceled, LockNotAvailable) as err:
            return self._put_off(rule, batch, err)
        self._deleted[rule.name] = self._deleted.get(rule.name, 0) + deleted
        return PAUSE_S if deleted >= batch else self._next(PAUSE_S)

    def _put_off(self, rule: RetentionRule, batch: int, error: Exception) -> float:
        """Retry with a smaller batch; once that is the smallest, leave this kind for an hour."""
        if batch > SMALLEST:
            self._shrunk[rule.name] = max(batch // 4, SMALLEST)
            return PAUSE_S
        logger.warning("expired %s stay for another hour: %s", rule.name, str(error).strip())
        return self._next(PAUSE_S)

    def _next(self, pause_s: float) -> float:
        """Continue with the next kind; after the last one, wait."""
        self._number = (self._number + 1) % len(self._rules)
        if self._number:
            return pause_s
        if some := {name: count for name, count in self._deleted.items() if count}:
            said = ", ".join(f"{count} {name}" for name, count in some.items())
            logger.info("deleted expired records: %s", said)
        self._deleted.clear()
        self._shrunk.clear()
        return EVERY_S
