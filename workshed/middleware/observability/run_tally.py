"""Count runs that the history does not record, until their numbers are written."""

import threading
from bisect import bisect_right
from collections import Counter

from workshed.jobs.history.attempts import to_storable
from workshed.jobs.history.histogram import BOUNDS_S
from workshed.jobs.history.run_minutes import OTHER, RunKind

MOST_KINDS = 10_000
"""Kinds of runs that are counted separately, while PostgreSQL is away."""


class RunTally:
    """Counts runs by kind, in bounded memory; jobs add to it, and one thread writes it."""

    def __init__(self) -> None:
        self._counts: Counter[RunKind] = Counter()
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        """Return whether a number is not written yet."""
        return bool(self._counts)

    def add(
        self,
        *,
        actor: str,
        queue: str,
        outcome: str,
        duration_s: float | None,
        queue_wait_s: float | None,
    ) -> None:
        """Count a run."""
        buckets = time_bucket(duration_s), time_bucket(queue_wait_s)
        kind = RunKind(to_storable(actor), to_storable(queue), outcome, *buckets)
        with self._lock:
            if kind not in self._counts and len(self._counts) >= MOST_KINDS:
                kind = RunKind(OTHER, OTHER, outcome, *buckets)
            self._counts[kind] += 1

    def take(self) -> Counter[RunKind]:
        """Return all numbers, and begin again with none."""
        with self._lock:
            taken, self._counts = self._counts, Counter()
        return taken

    def put_back(self, counts: Counter[RunKind]) -> None:
        """Add numbers that could not be written."""
        with self._lock:
            self._counts += counts


def time_bucket(seconds: float | None) -> int | None:
    """Return the bucket of a time in a histogram, as `workshed.time_bucket` does."""
    return None if seconds is None else bisect_right(BOUNDS_S, seconds)
