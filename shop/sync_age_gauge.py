"""Relay duty: measure how old the data of each source is."""

import time

from shop import meters, source_freshness
from workshed.db import Connection

POLL_S = 10.0
MAX_TIME_SHARE = 0.01
"""Largest share of the time to spend on measuring."""


class SyncAgeGauge:
    """A relay duty, because a source whose jobs are all dead would report nothing itself."""

    def __init__(self) -> None:
        self._reported: set[str] = set()

    def __call__(self, conn: Connection) -> float:
        """Measure once, and reset the metrics of removed sources."""
        started = time.monotonic()
        found = source_freshness.list_source_ages(conn)
        for source in found:
            meters.SYNC_AGE.set(source.age.total_seconds(), source.name)
            meters.SYNC_FAILED.set(source.failed_runs, source.name)
        for name in self._reported - {source.name for source in found}:
            meters.SYNC_AGE.set(float("nan"), name)
            meters.SYNC_FAILED.set(0, name)
        self._reported = {source.name for source in found}
        return max(POLL_S, (time.monotonic() - started) / MAX_TIME_SHARE)
