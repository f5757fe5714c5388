"""When business days begin and end, in every time zone."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis.strategies import dates, datetimes, sampled_from

from shop.reports import business_days

ZONES = sorted(available_timezones() - {"localtime"})
A_DAY, HOUR = timedelta(days=1), timedelta(hours=1)
FIRST, LAST = date(2024, 1, 1), date(2035, 12, 31)
NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)

zones = sampled_from(ZONES)


def local(instant, zone):
    return instant.astimezone(ZoneInfo(zone)).date()


def changing(zone):
    """Return the dates around each clock change, found by comparing the offset at every noon."""
    noons = [NOON + n * A_DAY for n in range((LAST - FIRST).days + 1)]
    offsets = [noon.astimezone(ZoneInfo(zone)).utcoffset() for noon in noons]
    for at, (before, after) in enumerate(pairwise(offsets)):
        if before != after:
            yield from (noons[at].date() + n * A_DAY for n in (-1, 0, 1, 2))


def check(of, zone):
    """Check that days are adjacent, and that each holds the instants whose local date it is."""
    found = business_days.day_of(of, zone)

    assert found.ends_at == business_days.day_of(of + A_DAY, zone).starts_at
    assert found.starts_at < found.ends_at
    assert local(found.starts_at, zone) == local(found.ends_at - business_days.MOMENT, zone) == of
    assert local(found.starts_at - business_days.MOMENT, zone) < of < local(found.ends_at, zone)
    at = found.starts_at
    while at < found.ends_at:
        assert local(at, zone) == of
        at += HOUR / 4
    assert business_days.previous_day(found.starts_at, zone) == business_days.day_of(
        of - A_DAY, zone
    )
    assert business_days.previous_day(
        found.ends_at - business_days.MOMENT, zone
    ) == business_days.day_of(of - A_DAY, zone)
    assert business_days.previous_day(found.ends_at, zone) == found


@pytest.mark.sample(2)
@pytest.mark.parametrize("part", range(8))
def test_days_leave_no_gap_where_clocks_are_changed(part):
    seen = 0
    for zone in ZONES[part::8]:
        for of in changing(zone):
            check(of, zone)
            seen += 1
    assert seen > 1_000


@given(of=dates(FIRST, LAST), zone=zones)
def test_days_leave_no_gap(of, zone):
    check(of, zone)


@given(at=datetimes(datetime(2024, 1, 3), datetime(2035, 12, 29)), zone=zones)  # noqa: DTZ001
def test_each_instant_is_of_the_day_that_its_clocks_show(at, zone):
    at = at.replace(tzinfo=UTC)

    found = business_days.day_of(local(at, zone), zone)

    assert found.starts_at <= at < found.ends_at
    assert business_days.previous_day(at, zone).ends_at == found.starts_at


@pytest.mark.parametrize(
    ("of", "zone", "starts_at", "hours"),
    [
        ("2024-03-30", "Europe/Paris", "2024-03-29T23:00", 24),
        ("2024-03-31", "Europe/Paris", "2024-03-30T23:00", 23),
        ("2024-10-27", "Europe/Paris", "2024-10-26T22:00", 25),
        ("2024-03-10", "America/New_York", "2024-03-10T05:00", 23),
        # Midnight is skipped, or occurs twice.
        ("2024-03-10", "America/Havana", "2024-03-10T05:00", 23),
        ("2024-11-03", "America/Havana", "2024-11-03T04:00", 25),
        ("2024-04-07", "Australia/Lord_Howe", "2024-04-06T13:00", 24.5),
        # A day that never existed, because the date line was moved.
        ("2011-12-29", "Pacific/Apia", "2011-12-29T10:00", 24),
        ("2011-12-30", "Pacific/Apia", "2011-12-30T10:00", 0),
        ("2011-12-31", "Pacific/Apia", "2011-12-30T10:00", 24),
        # The clocks skipped the half hour before midnight and the one after it.
        ("1919-03-31", "America/Toronto", "1919-03-31T04:30", 23.5),
    ],
)
def test_how_long_days_are(of, zone, starts_at, hours):
    found = business_days.day_of(date.fromisoformat(of), zone)

    assert found.starts_at == datetime.fromisoformat(starts_at).replace(tzinfo=UTC)
    assert (found.ends_at - found.starts_at) / HOUR == hours


def test_before_a_day_that_never_was_is_the_one_before_it():
    noon = datetime(2011, 12, 30, 22, tzinfo=UTC)  # of the 31st

    assert business_days.previous_day(noon, "Pacific/Apia") == business_days.day_of(
        date(2011, 12, 29), "Pacific/Apia"
    )


def test_the_dates_of_a_trend_end_with_its_day():
    assert business_days.range_ending(date(2026, 3, 1), 3) == [
        date(2026, 2, 27),
        date(2026, 2, 28),
        date(2026, 3, 1),
    ]
