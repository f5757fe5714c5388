"""How long to wait before the next attempt, as functions of (attempt, error)."""

import random
from collections.abc import Callable
from datetime import timedelta

Wait = Callable[[int, BaseException], timedelta]
"""Takes the attempt that failed (the first is 1) and its error."""

LONGEST = timedelta(days=7)
SHORTEST = timedelta(milliseconds=1)


def fixed(span: timedelta) -> Wait:
    """Wait the same span each time."""
    return lambda _attempt, _error: span


def exponential(
    first: timedelta = timedelta(seconds=15), longest: timedelta = LONGEST, jitter: float = 0.25
) -> Wait:
    """Double from `first` to at most `longest`, each up to `jitter` of itself shorter.

    The jitter keeps jobs that failed together from coming back together.
    """

    def wait(attempt: int, _error: BaseException) -> timedelta:
        # Capped before it is multiplied: a span has a largest value.
        times = min(2 ** min(attempt - 1, 62), longest // max(first, SHORTEST) + 1)
        span: timedelta = min(first * times, longest)
        return span * (1 - random.uniform(0, jitter))  # noqa: S311

    return wait


def polynomial(jitter: timedelta = timedelta(seconds=30)) -> Wait:
    """Wait attempt⁴ seconds and up to `jitter` more, as Sidekiq and ActiveJob do."""

    def wait(attempt: int, _error: BaseException) -> timedelta:
        span = timedelta(seconds=min(attempt**4, LONGEST.total_seconds()))
        return span + jitter * random.random()  # noqa: S311

    return wait
