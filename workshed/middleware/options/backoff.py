"""Backoff: how long to wait before the next attempt, as functions of (attempt, error)."""

import logging
import random
from collections.abc import Callable
from datetime import timedelta

logger = logging.getLogger(__name__)

Wait = Callable[[int, BaseException], timedelta]
"""Takes the attempt that failed (the first is 1) and its error."""

LONGEST_BACKOFF = timedelta(days=7)
SHORTEST_SPAN = timedelta(milliseconds=1)
LONGEST_SPAN = timedelta(days=365)
"""A longer wait is a mistake, and no row can hold a time beyond the year 9999."""


def clamp_wait(span: timedelta) -> timedelta:
    """Limit a wait that a job asked for to between 0 and 365 days."""
    return min(max(span, timedelta()), LONGEST_SPAN)


def fixed_wait(span: timedelta) -> Wait:
    """Wait for the same span each time."""
    return lambda _attempt, _error: span


def exponential_wait(
    first: timedelta = timedelta(seconds=15),
    longest: timedelta = LONGEST_BACKOFF,
    jitter: float = 0.25,
) -> Wait:
    """Double the wait from `first` up to `longest`, then shorten it by up to the fraction `jitter`.

    The jitter keeps jobs that failed together from retrying together.
    """

    def wait(attempt: int, _error: BaseException) -> timedelta:
        # Capped before the multiplication, because a timedelta can overflow.
        times = min(2 ** min(attempt - 1, 62), longest // max(first, SHORTEST_SPAN) + 1)
        span: timedelta = min(first * times, longest)
        return span * (1 - random.uniform(0, jitter))  # noqa: S311

    return wait


def polynomial_wait(jitter: timedelta = timedelta(seconds=30)) -> Wait:
    """Wait attempt⁴ seconds plus up to `jitter`, as Sidekiq and ActiveJob do."""

    def wait(attempt: int, _error: BaseException) -> timedelta:
        span = timedelta(seconds=min(attempt**4, LONGEST_BACKOFF.total_seconds()))
        return span + jitter * random.random()  # noqa: S311

    return wait


def custom_wait(wait: Wait, otherwise: Wait) -> Wait:
    """Call a function of the application; use `otherwise` if it returns no valid span.

    The function is called after a job has failed, so an error of its own must not cost the job its
    retry.
    """

    def guarded(attempt: int, error: BaseException) -> timedelta:
        try:
            span: object = wait(attempt, error)
        except Exception:
            logger.exception("wait=%r failed; waiting exponentially", wait)
        else:
            if isinstance(span, timedelta) and timedelta() <= span <= LONGEST_SPAN:
                return span
            logger.error(
                "wait=%r returned %r, not a span up to a year; waiting exponentially", wait, span
            )
        return otherwise(attempt, error)

    return guarded
