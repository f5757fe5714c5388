"""Tell how old what we have of each source is."""

import time

from shop import meters, sync_ages
from workshed.db import Connection

LOOK_S = 10.0
SHARE = 0.01
"""Share of the time that looks may take."""


class SyncAge:
    """A duty of relays, since a source whose jobs are all dead tells nothing by itself."""

    def __init__(self) -> None:
        """Nothing was told yet."""
        self._told: set[str] = set()

    def __call__(self, conn: Connection) -> float:
        """Look once; of a source that is gone nothing is known."""
        started = time.monotonic()
        found = sync_ages.find(conn)
        for source in found:
            meters.SYNC_AGE.set(source.age.total_seconds(), source.name)
            meters.SYNC_FAILED.set(source.failed_runs, source.name)
        for name in self._told - {source.name for source in found}:
            meters.SYNC_AGE.set(float("nan"), name)
            meters.SYNC_FAILED.set(0, name)
        self._told = {source.name for source in found}
        return max(LOOK_S, (time.monotonic() - started) / SHARE)
