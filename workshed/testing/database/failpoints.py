"""The places in a job at which its process can be made to end."""

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

from workshed.testing.fake_broker import SimulatedCrash

LONGEST_NAME = 72
TIME_LIMIT = "SELECT set_config('statement_timeout'"
"""With which `db.transaction` begins: no place in the job."""


class Failpoints:
    """Counts the places that a job passes, and ends its process at one of them.

    They are before and after each statement, and each commit.
    """

    def __init__(self, end_at: int | None = None) -> None:
        """End at the place of this number, from 1 on; at none without."""
        self.passed: list[str] = []
        self.ended = False
        self._end_at = end_at
        self._seen: Counter[str] = Counter()
        self._watching = False

    @contextmanager
    def watching(self) -> Generator[None]:
        """Count in the block; raise `SimulatedCrash` at its end, also if the first was caught."""
        self._watching = True
        try:
            yield
        finally:
            self._watching = False
            if self.ended:
                raise SimulatedCrash(self.passed[-1])

    @contextmanager
    def passing(self, what: str) -> Generator[None]:
        """Let there be a place before and one after the block, which runs this."""
        self.reach(f"before {what}")
        yield
        self.reach(f"after {what}")

    def reach(self, place: str) -> None:
        """Note a place. Raises `SimulatedCrash` where the process ends there, or has ended.

        Of a process that has ended no handler does anything either.
        """
        if self.ended:
            raise SimulatedCrash(self.passed[-1])
        if not self._watching:
            return
        self._seen[place] += 1
        number = self._seen[place]
        self.passed.append(place if number == 1 else f"{place} (no. {number})")
        if len(self.passed) == self._end_at:
            self.ended = True
            raise SimulatedCrash(self.passed[-1])


def name_of(statement: str) -> str | None:
    """Name a statement by its beginning, on one line; `None` for what is not the job's own."""
    words = " ".join(statement.split())
    if words.startswith(TIME_LIMIT):
        return None
    short = words if len(words) <= LONGEST_NAME else f"{words[:LONGEST_NAME].rstrip()}…"
    return f"`{short}`"
