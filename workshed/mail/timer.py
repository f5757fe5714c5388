"""How long one mail may keep a worker."""

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

# No step begins later than this many times the longest wait for one reply; a server that is slow at
# each of the dozen steps of a login over STARTTLS is left before it has the mail.
STEPS = 4


def longest(step: timedelta) -> timedelta:
    """Bound the time one mail takes: the last step begins in time and waits for one reply."""
    return (STEPS + 1) * step


@dataclass(frozen=True, slots=True)
class Timer:
    """The time one mail has: `step_s` for each reply, and no step begins after `ends_at_s`."""

    step_s: float
    ends_at_s: float

    @classmethod
    def start(cls, step: timedelta) -> Self:
        """Begin to count."""
        seconds = step.total_seconds()
        return cls(seconds, time.monotonic() + STEPS * seconds)

    def next_step_s(self) -> float:
        """Return the seconds the next step may take; raises `TimeoutError` if it may not begin."""
        if time.monotonic() >= self.ends_at_s:
            raise TimeoutError
        return self.step_s
