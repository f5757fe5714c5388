"""The pause before the next attempt at something that has failed."""

import random

MOST_DOUBLINGS = 64
"""A float overflows at 2 to the power of 1024, which an hour of failures reaches."""
chance = random.SystemRandom()
"""Not seeded, so that pauses differ between processes that seed `random` alike."""


def backoff_s(failures: int, first_s: float, longest_s: float) -> float:
    """Return a pause, in seconds, that doubles from `first_s` to `longest_s` with each failure.

    `failures`: how many there were before the last one.
    """
    return min(longest_s, first_s * float(2 ** min(failures, MOST_DOUBLINGS)))


def jittered_backoff_s(failures: int, first_s: float, longest_s: float) -> float:
    """Return the pause of `backoff_s` without up to half of it, at random.

    For attempts to reach a server: without jitter, all processes would return to a restarted one
    in the same millisecond.
    """
    pause_s = backoff_s(failures, first_s, longest_s)
    return chance.uniform(pause_s / 2, pause_s)
