"""How long to wait before the next attempt, as functions of (attempt, error)."""

import logging
import random
from collections.abc import Callable
from datetime import timedelta

logger = logging.getLogger(__name__)

Wait = Callable[[int, BaseException], timedelta]
"""Takes the attempt that failed (the first is 1) and its error."""

LONGEST = timedelta(days=7)
SHORTEST = timedelta(milliseconds=1)
FURTHEST = timedelta(days=365)
"""Beyond it a wait is a mistake, and beyond the year 9999 no row could hold it."""


def clamp_wait(span: timedelta) -> timedelta:
    """Bring a wait that a job asked for into what can be waited."""
    return min(max(span, timedelta()), FURTHEST)


def fixed_wait(span: timedelta) -> Wait:
    """Wait the same span each time."""
    return lambda _attempt, _error: span


def exponential_wait(
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


def polynomial_wait(jitter: timedelta = timedelta(seconds=30)) -> Wait:
    """Wait attempt⁴ seconds and up to `jitter` more, as Sidekiq and ActiveJob do."""

    def wait(attempt: int, _error: BaseException) -> timedelta:
        span = timedelta(seconds=min(attempt**4, LONGEST.total_seconds()))
        return span + jitter * random.random()  # noqa: S311

    return wait


def custom_wait(wait: Wait, otherwise: Wait) -> Wait:
    """Ask a function of the program, and wait as `otherwise` says where it gives no span.

    It is asked when a job has failed: an error of its own must not cost the job its retry.
    """

    def guarded(attempt: int, error: BaseException) -> timedelta:
        try:
            span: object = wait(attempt, error)
        except Exception:
            logger.exception("wait=%r failed; waiting exponentially", wait)
        else:
            if isinstance(span, timedelta) and timedelta() <= span <= FURTHEST:
                return span
            logger.error("wait=%r gave %r, no span up to a year; waiting exponentially", wait, span)
        return otherwise(attempt, error)

    return guarded
