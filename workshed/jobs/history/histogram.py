"""Histograms of times, as `workshed.time_bucket` makes them: each bucket is twice as wide."""

import math
from collections.abc import Sequence

BUCKETS = 26
FIRST_S = 0.001
"""Where the first bucket ends, in seconds; the next one ends at twice that, and so on."""
BOUNDS_S = tuple(math.ldexp(FIRST_S, bucket) for bucket in range(BUCKETS - 1))
"""Where each bucket ends and the next one begins."""


def estimate_percentile(histogram: Sequence[int], share: float) -> float | None:
    """Return about how many seconds that share of the times do not exceed, 0 to 1.

    The true value is in the same bucket, so it is at most twice or half as large. Returns `None`
    for an empty histogram.
    """
    wanted, below = share * sum(histogram), 0
    if not wanted:
        return None
    for bucket, count in enumerate(histogram):
        if count and below + count >= wanted:
            return _interpolate(bucket, (wanted - below) / count)
        below += count
    raise AssertionError("a share of at most 1 is in some bucket")


def _interpolate(bucket: int, part: float) -> float:
    """Return the time at this part of a bucket, as if its times were spread evenly."""
    if bucket == 0:
        return part * FIRST_S
    begin = BOUNDS_S[bucket - 1]
    return begin if bucket == BUCKETS - 1 else begin * (1 + part)
