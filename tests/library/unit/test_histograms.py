"""Estimates from histograms whose buckets double in width."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workshed.jobs.history.histogram import BUCKETS, FIRST_S, estimate_percentile

times = st.lists(st.floats(FIRST_S, FIRST_S * 2 ** (BUCKETS - 2) * 0.99), min_size=1)


def histogram(found):
    counts = [0] * BUCKETS
    for seconds in found:
        counts[math.floor(math.log2(seconds / FIRST_S)) + 1] += 1
    return counts


@given(times, st.floats(0.01, 1.0))
def test_an_estimate_is_at_most_twice_or_half_of_the_true_value(found, share):
    true = sorted(found)[max(math.ceil(share * len(found)) - 1, 0)]

    assert true / 2.01 <= estimate_percentile(histogram(found), share) <= true * 2.01


def test_without_times_there_is_no_estimate():
    assert estimate_percentile([], 0.5) is None
    assert estimate_percentile([0, 0], 0.5) is None


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        ([10], 0.5, 0.0005),  # below 1 ms
        ([0, 10], 0.5, 0.0015),
        ([5, 5], 0.5, 0.001),
        ([5, 5], 1.0, 0.002),
        ([90, 0, 0, 10], 0.95, 0.006),
        ([*25 * [0], 3], 0.5, 16_777.216),  # the last bucket has no end
    ],
)
def test_times_are_taken_as_evenly_spread_in_a_bucket(counts, share, expected):
    assert estimate_percentile(counts, share) == pytest.approx(expected)
