"""Failpoints: the places in a job at which its process can be made to crash."""

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

from workshed.testing.fake_broker import SimulatedCrash

LONGEST_NAME = 72
NOT_OF_JOB = (
    "SELECT set_config('statement_timeout'",  # the first statement of `db.transaction`
    "UPDATE workshed.actors SET once_unused_at",  # a report of `once=True`, once an hour
)
"""Beginnings of statements that are not failpoints of the job."""


class Failpoints:
    """Counts the failpoints that a job passes, and crashes its process at one of them.

    There is a failpoint before and after each statement and each commit.
    """

    def __init__(self, end_at: int | None = None) -> None:
        """Crash at the failpoint `end_at`, from 1; by default at none."""
        self.names: list[str] = []
        self.has_crashed = False
        self._crash_at = end_at
        self._counts: Counter[str] = Counter()
        self._is_watching = False

    @contextmanager
    def watch(self) -> Generator[None]:
        """Count in the block; raise `SimulatedCrash` at its end, even if the first was caught."""
        self._is_watching = True
        try:
            yield
        finally:
            self._is_watching = False
            if self.has_crashed:
                raise SimulatedCrash(self.names[-1])

    @contextmanager
    def surround(self, what: str) -> Generator[None]:
        """Add a failpoint before and after the block, which runs `what`."""
        self.reach(f"before {what}")
        yield
        self.reach(f"after {what}")

    def reach(self, place: str) -> None:
        """Record a failpoint. Raises `SimulatedCrash` if the process crashes there or has crashed.

        After the crash, no handler of the process can do anything either.
        """
        if self.has_crashed:
            raise SimulatedCrash(self.names[-1])
        if not self._is_watching:
            return
        self._counts[place] += 1
        number = self._counts[place]
        self.names.append(place if number == 1 else f"{place} (no. {number})")
        if len(self.names) == self._crash_at:
            self.has_crashed = True
            raise SimulatedCrash(self.names[-1])


def name_statement(statement: str) -> str | None:
    """Name a statement by its beginning, on one line; `None` if it is not the job's own."""
    words = " ".join(statement.split())
    if words.startswith(NOT_OF_JOB):
        return None
    short = words if len(words) <= LONGEST_NAME else f"{words[:LONGEST_NAME].rstrip()}…"
    return f"`{short}`"
