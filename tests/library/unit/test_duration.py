"""Durations as texts, and in the unit of dramatiq."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workshed.duration import format_duration, format_rounded, ms, parse_duration


def test_a_minute_is_sixty_thousand_milliseconds():
    assert ms(minutes=1) == 60_000
    assert ms(days=1, hours=1, minutes=1, seconds=1.5) == 90_061_500


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_parts_add_up_to_whole_milliseconds(minutes, seconds):
    found = ms(minutes=minutes, seconds=seconds)

    assert timedelta(milliseconds=found) == timedelta(minutes=minutes, seconds=seconds)


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("90d", timedelta(days=90)),
        ("1h30m", timedelta(hours=1.5)),
        ("2min", timedelta(minutes=2)),
        ("15s", timedelta(seconds=15)),
        ("1.5s", timedelta(seconds=1.5)),
        ("250ms", timedelta(milliseconds=250)),
        ("1 h 250 ms", timedelta(hours=1, milliseconds=250)),
    ],
)
def test_a_duration_is_read_with_its_units(text, length):
    assert parse_duration(text) == length


@pytest.mark.parametrize("text", ["", "15", "-1s", "1y", "1h and 2", "s", "1e3s", "9" * 30 + "d"])
def test_what_is_no_duration_is_refused_in_words(text):
    with pytest.raises(ValueError, match=r"is not a duration such as 90d|is too long"):
        parse_duration(text)


@given(st.timedeltas(min_value=timedelta(), max_value=timedelta(days=10_000)))
def test_a_duration_is_written_as_it_is_read(length):
    assert parse_duration(format_duration(length)) == length


def test_nothing_is_written_in_seconds():
    assert format_duration(timedelta()) == "0s"


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (timedelta(), "0ms"),
        (timedelta(milliseconds=12.4), "12ms"),
        (timedelta(seconds=3.44), "3.4s"),
        (timedelta(seconds=5), "5s"),
        (timedelta(seconds=70), "70s"),
        (timedelta(minutes=90), "90m"),
        (timedelta(hours=1), "1h"),
        (timedelta(days=1, hours=3), "27h"),
        (timedelta(days=400), "400d"),
    ],
)
def test_a_rounded_duration_is_in_its_largest_fitting_unit(length, text):
    assert format_rounded(length) == text
