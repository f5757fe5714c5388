"""Delete old records."""

import logging
from datetime import timedelta

from actors.imports import recheck_stalled_imports
from shop import retention
from workshed import actor
from workshed.cronspec import daily

logger = logging.getLogger(__name__)


@actor(
    queue="low",
    time_limit=timedelta(minutes=30),
    periodic=daily("03:30"),
    needs="shop",
)
def maintain() -> None:
    """Delete expired records of the product every night, and check old imports.

    Idempotent: a second run skips what the other deletes, and finds the rest deleted.
    On crash: what was deleted is committed; the next run continues.
    """
    recheck_stalled_imports()
    deleted = retention.prune_expired()
    logger.info("deleted %s", ", ".join(f"{count} {name}" for name, count in deleted.items()))
