"""How long to wait before the next attempt."""

import random

from hypothesis import given
from hypothesis.strategies import integers

from workshed.backoff import backoff_s, jittered_backoff_s

FIRST_S, LONGEST_S = 0.1, 5.0


def pause(failures):
    return jittered_backoff_s(failures, FIRST_S, LONGEST_S)


def test_a_pause_doubles_up_to_the_longest():
    pauses = [backoff_s(failures, FIRST_S, LONGEST_S) for failures in range(8)]

    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


@given(integers(min_value=0, max_value=100_000))
def test_a_pause_is_within_its_bounds_however_many_failed(failures):
    """A float overflows at 2 to the power of 1024, which an hour of failures reaches."""
    longest = min(LONGEST_S, FIRST_S * 2 ** min(failures, 20))

    assert longest / 2 <= pause(failures) <= longest


def test_pauses_differ_or_a_fleet_would_come_back_at_once():
    pauses = [pause(10) for _ in range(1_000)]

    assert len(set(pauses)) > 900
    assert min(pauses) < 0.55 * LONGEST_S
    assert max(pauses) > 0.95 * LONGEST_S


def test_pauses_differ_between_programs_that_seed_random():
    pauses = set()
    for _ in range(4):
        random.seed(7)
        pauses.add(pause(10))

    assert len(pauses) == 4
