"""`Retry-After` in both forms."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis.strategies import integers, none, one_of, text

from shop.sync.retry_after import MAX_DELAY, MIN_DELAY, parse_delay

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120),
        (" 120 ", 120),
        ("0", 1),
        ("86401", 86_400),
        ("1" * 5000, 86_400),
        ("Wed, 25 Nov 2026 12:02:00 GMT", 120),
        ("Wed, 25 Nov 2026 11:00:00 GMT", 1),
        ("Wednesday, 25-Nov-26 12:02:00 GMT", 120),
        ("Wed Nov 25 12:02:00 2026", 120),
    ],
)
def test_it_says_how_long_to_wait(header, seconds):
    assert parse_delay(header, NOW) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "soon",
        "-5",
        "1.5",
        "٣",
        "Wed, 99 Nov 2026 12:02:00 GMT",
        "Wed, 25 Nov 99999999999 12:02:00 GMT",
        "Wed, 25 Nov 2026 12:02:00 +99999999999",
    ],
)
def test_an_unreadable_header_is_ignored(header):
    assert parse_delay(header, NOW) is None


@given(seconds=integers(1, 86_400))
def test_both_forms_say_the_same(seconds):
    at = NOW + timedelta(seconds=seconds)

    assert parse_delay(str(seconds), NOW) == parse_delay(format_datetime(at, usegmt=True), NOW)


@given(header=one_of(none(), text()))
def test_nothing_that_is_sent_makes_it_fail(header):
    found = parse_delay(header, NOW)

    assert found is None or MIN_DELAY <= found <= MAX_DELAY
