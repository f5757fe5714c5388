"""Delete the records of jobs that have expired: history, attempts, dead jobs, batches, runs."""

import logging
from collections.abc import Sequence
from datetime import timedelta

from psycopg.errors import InsufficientPrivilege, LockNotAvailable, QueryCanceled

from workshed.database.postgres import Connection
from workshed.jobs.maintenance import retention
from workshed.jobs.maintenance.retention import RetentionRule

logger = logging.getLogger(__name__)

EVERY_S = 3600.0
PAUSE_S = 0.05
"""Pause between two batches, so that jobs can use the disk."""
BUSY_PAUSE_S = 1.0
"""Pause while another relay is pruning."""
STATEMENT_TIMEOUT = timedelta(seconds=5)
"""Limit of one statement. A batch that takes longer is rolled back, and retried smaller."""
MIN_BATCH = 10


class Pruner:
    """Deletes expired rows every hour, one batch of one kind at a time.

    Several relays take turns.
    """

    def __init__(self, rules: Sequence[RetentionRule]) -> None:
        self._rules = rules
        self._rule_index = 0
        self._shrunk_sizes: dict[str, int] = {}
        """Sizes of batches that took too long, by kind."""
        self._deleted_counts: dict[str, int] = {}

    def __call__(self, conn: Connection) -> float:
        """Delete one batch; return in how many seconds the next one is due."""
        rule = self._rules[self._rule_index]
        batch = self._shrunk_sizes.get(rule.name, rule.batch)
        try:
            with conn.transaction():
                if not retention.claim_batch(conn, STATEMENT_TIMEOUT):
                    return BUSY_PAUSE_S
                deleted = rule.prune(conn, rule.older_than, batch)
                if deleted < batch:
                    retention.record_pruned(conn, rule.name)
        except (QueryCanceled, LockNotAvailable) as err:
            return self._shrink_or_skip(rule, batch, err)
        except InsufficientPrivilege as err:
            logger.error(  # noqa: TRY400 -- the traceback says nothing more
                "expired %s cannot be deleted: %s; run `workshed roles`",
                rule.name,
                str(err).strip(),
            )
            return self._next_rule(PAUSE_S)
        self._deleted_counts[rule.name] = self._deleted_counts.get(rule.name, 0) + deleted
        return PAUSE_S if deleted >= batch else self._next_rule(PAUSE_S)

    def _shrink_or_skip(self, rule: RetentionRule, batch: int, error: Exception) -> float:
        """Retry with a smaller batch; once that is the smallest, leave this kind for an hour."""
        if batch > MIN_BATCH:
            self._shrunk_sizes[rule.name] = max(batch // 4, MIN_BATCH)
            return PAUSE_S
        logger.warning(
            "expired %s could not be deleted; trying again in an hour: %s",
            rule.name,
            str(error).strip(),
        )
        return self._next_rule(PAUSE_S)

    def _next_rule(self, pause_s: float) -> float:
        """Continue with the next kind; after the last one, wait."""
        self._rule_index = (self._rule_index + 1) % len(self._rules)
        if self._rule_index:
            return pause_s
        if some := {name: count for name, count in self._deleted_counts.items() if count}:
            said = ", ".join(f"{count} {name}" for name, count in some.items())
            logger.info("deleted expired records: %s", said)
        self._deleted_counts.clear()
        self._shrunk_sizes.clear()
        return EVERY_S
