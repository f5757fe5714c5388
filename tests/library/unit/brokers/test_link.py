"""How long to wait before connecting again."""

import random

from hypothesis import given
from hypothesis.strategies import integers

from workshed.transport.amqp.connection import FIRST_PAUSE_S, LONGEST_PAUSE_S, pause_s


@given(integers(min_value=0, max_value=100_000))
def test_a_pause_is_within_its_bounds_however_many_failed(failures):
    """A float overflows at 2 to the power of 1024, which an hour of failures reaches."""
    longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(failures, 20))

    assert longest / 2 <= pause_s(failures) <= longest


def test_pauses_differ_or_a_fleet_would_come_back_at_once():
    pauses = [pause_s(10) for _ in range(1_000)]

    assert len(set(pauses)) > 900
    assert min(pauses) < 0.55 * LONGEST_PAUSE_S
    assert max(pauses) > 0.95 * LONGEST_PAUSE_S


def test_pauses_differ_between_programs_that_seed_random():
    pauses = set()
    for _ in range(4):
        random.seed(7)
        pauses.add(pause_s(10))

    assert len(pauses) == 4
