"""Durations in dramatiq's unit."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from workshed.duration import ms


def test_a_minute_is_sixty_thousand_milliseconds():
    assert ms(minutes=1) == 60_000
    assert ms(days=1, hours=1, minutes=1, seconds=1.5) == 90_061_500


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_parts_add_up_to_whole_milliseconds(minutes, seconds):
    found = ms(minutes=minutes, seconds=seconds)

    assert timedelta(milliseconds=found) == timedelta(minutes=minutes, seconds=seconds)
