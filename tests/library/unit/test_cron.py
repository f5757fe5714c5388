"""When periodic jobs run, compared with a loop that looks at the clock every minute."""

import re
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workshed.cronspec import PeriodicSchedule, cron, daily, every, parse_schedule
from workshed.settings import settings

PARIS = "Europe/Paris"
MINUTE = timedelta(minutes=1)
ZONES = sorted(available_timezones())


def at(text, zone="UTC"):
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def local(spec, since, number):
    """The first `number` times after an instant, as the clocks of the spec's zone show them."""
    zone, found = ZoneInfo(spec.zone), []
    for _ in range(number):
        since = spec.next_after(since)
        found.append(since.astimezone(zone).strftime("%a %d %b %H:%M"))
    return found


# By name


def test_a_job_of_every_sunday_runs_on_sundays():
    """With periodiq, `0 3 * * sun`, `0` and `@weekly` never run on Sundays."""
    sundays = ["Sun 04 Jan 03:00", "Sun 11 Jan 03:00", "Sun 18 Jan 03:00"]

    for day in ("SUN", "0", "7", "sun"):
        assert local(cron(f"0 3 * * {day}"), at("2026-01-01"), 3) == sundays


def test_a_range_of_days_has_its_sundays():
    week = local(cron("0 3 * * 0-6"), at("2026-01-02T12:00"), 3)

    assert week == ["Sat 03 Jan 03:00", "Sun 04 Jan 03:00", "Mon 05 Jan 03:00"]


def test_a_daily_job_runs_on_the_day_on_which_the_clocks_are_put_forward():
    """periodiq plans it an hour late, finds that this is not its time, and drops it."""
    found = local(daily("06:00", tz=PARIS), at("2026-03-28", PARIS), 3)

    assert found == ["Sat 28 Mar 06:00", "Sun 29 Mar 06:00", "Mon 30 Mar 06:00"]


def test_a_time_that_the_clocks_pass_over_is_the_first_moment_after():
    found = local(daily("02:30", tz=PARIS), at("2026-03-28T12:00", PARIS), 2)

    assert found == ["Sun 29 Mar 03:00", "Mon 30 Mar 02:30"]


def test_two_times_that_the_clocks_pass_over_are_one_moment():
    found = local(cron("0,30 2 * * *", tz=PARIS), at("2026-03-28T12:00", PARIS), 3)

    assert found == ["Sun 29 Mar 03:00", "Mon 30 Mar 02:00", "Mon 30 Mar 02:30"]


def test_midnight_that_the_clocks_pass_over_is_one_o_clock():
    found = local(daily("00:00", tz="Africa/Cairo"), at("2026-04-23T12:00", "Africa/Cairo"), 2)

    assert found == ["Fri 24 Apr 01:00", "Sat 25 Apr 00:00"]


def test_a_time_that_the_clocks_show_twice_is_one_moment():
    """Asked between the two, cronsim alone answers with the first, which is past by then."""
    spec = daily("02:30", tz=PARIS)
    first = at("2026-10-25T02:30", PARIS)

    assert spec.next_after(at("2026-10-24T12:00", PARIS)) == first
    for later in range(0, 120, 7):
        after = spec.next_after(first + later * MINUTE)
        assert after == at("2026-10-26T02:30", PARIS)


def test_a_job_of_every_half_hour_runs_in_both_hours_that_look_alike():
    spec = cron("*/30 * * * *", tz=PARIS)
    found = list(spec.times_between(at("2026-10-24T23:59"), at("2026-10-25T02:00")))

    assert found == [at("2026-10-25") + number * 30 * MINUTE for number in range(5)]


def test_a_job_of_the_29th_of_february_runs_in_leap_years():
    found = list(islice(cron("0 0 29 2 *").times_between(at("2024-01-01"), at("2036-01-01")), 9))

    assert [one.year for one in found] == [2024, 2028, 2032]


def test_a_job_of_the_last_day_runs_on_the_last_day_of_each_month():
    found = local(cron("0 0 L * *"), at("2024-01-01"), 4)

    assert found == ["Wed 31 Jan 00:00", "Thu 29 Feb 00:00", "Sun 31 Mar 00:00", "Tue 30 Apr 00:00"]


def test_a_window_of_the_day_begins_with_its_first_minute():
    """periodiq lost 03:00 each day if another job had woken it at noon."""
    found = local(cron("*/20 3 * * *"), at("2026-01-01T12:10"), 4)

    assert found == ["Fri 02 Jan 03:00", "Fri 02 Jan 03:20", "Fri 02 Jan 03:40", "Sat 03 Jan 03:00"]


def test_equal_distances_are_counted_from_the_epoch():
    spec = every(timedelta(hours=7))

    assert (spec.next_after(at("2026-01-01")).timestamp()) % 25_200 == 0
    assert spec.next_after(spec.next_after(at("2026-01-01"))) == spec.next_after(
        at("2026-01-01")
    ) + timedelta(hours=7)


def test_a_spec_without_a_zone_is_in_that_of_the_settings(monkeypatch):
    spec = daily("09:00")
    monkeypatch.setenv("WORKSHED_TIME_ZONE", "Asia/Tokyo")
    settings.cache_clear()

    assert spec.next_after(at("2026-01-01T09:00")) == at("2026-01-02T09:00", "Asia/Tokyo")


# Refused


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: daily("9:00"), "daily('9:00'): time: HH:MM"),
        (lambda: daily("24:00"), "daily('24:00'): time: HH:MM"),
        (
            lambda: daily("09:00", tz="Europe/Pari"),
            "tz='Europe/Pari': no time zone has this name; ",
        ),
        (lambda: daily("09:00", misfire="never"), "misfire='never': one of skip, once, all"),
        (
            lambda: daily("09:00", misfire_window=timedelta(days=31)),
            "a timedelta of 10 s to 30 days",
        ),
        (lambda: cron("61 * * * *"), "cron('61 * * * *'): minute '61': 0 to 59"),
        (lambda: cron("0 24 * * *"), "hour '24': 0 to 23"),
        (lambda: cron("0 0 32 * *"), "day-of-month '32': 1 to 31"),
        (lambda: cron("0 0 * 13 *"), "month '13': 1 to 12"),
        (lambda: cron("0 0 * * 8"), "day-of-week '8': 0 to 7"),
        (lambda: cron("0 0 30 2 *"), "day-of-month: no such day ever comes"),
        (lambda: cron("0 0 */31 2 MON#5"), "no such day ever comes"),
        (lambda: cron("* * *"), "3 fields; five are needed: minute, hour, day-of-month"),
        (lambda: cron("@reboot"), "cron('@reboot'): one of @yearly, @annually, @monthly"),
        (lambda: cron("0 0 0 * * *"), "6 fields"),
        (lambda: every(timedelta(seconds=9)), "a timedelta of 10 s to 366 days"),
        (lambda: every(timedelta(seconds=10.5)), "whole seconds"),
        (lambda: every(60), "every(60): span"),
    ],
)
def test_a_bad_spec_is_refused_with_the_field_and_the_reason(make, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        make()


@pytest.mark.parametrize(
    ("nickname", "fields"),
    [
        ("@hourly", "0 * * * *"),
        ("@daily", "0 0 * * *"),
        ("@Midnight", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
    ],
)
def test_a_nickname_is_its_fields(nickname, fields):
    """Crontabs have nicknames, and periodiq accepts them."""
    assert cron(nickname) == cron(fields)


# In words, and as a row


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (daily("09:00"), "daily at 09:00"),
        (cron("*/20 3 * * *"), "every 20th minute from 03:00 through 03:59"),
        (cron("0 9 * * mon-fri"), "at 09:00 on Monday through Friday"),
        (every(timedelta(hours=1)), "every hour"),
        (every(timedelta(minutes=90)), "every 1 hour 30 minutes"),
        (every(timedelta(minutes=10)), "every 10 minutes"),
    ],
)
def test_a_spec_is_described_in_words(spec, words):
    assert spec.description == words


@pytest.mark.parametrize(
    "spec",
    [
        daily("09:00", tz=PARIS, misfire="all", misfire_window=timedelta(hours=2)),
        cron("*/20 3 1,L * mon-fri", tz=PARIS, misfire="skip"),
        every(timedelta(minutes=10)),
    ],
)
def test_a_spec_is_read_back_from_its_row(spec):
    again = parse_schedule(spec.kind, spec.text, spec.zone, spec.misfire, spec.misfire_window)
    since = at("2026-03-28")

    assert (again.text, again.zone, again.misfire, again.misfire_window) == (
        spec.text,
        spec.zone,
        spec.misfire,
        spec.misfire_window,
    )
    assert local(again, since, 9) == local(spec, since, 9)


@pytest.mark.parametrize("row", [("lunar", "1"), ("every", "ten"), ("daily", "9"), ("cron", "x")])
def test_a_row_of_another_release_is_refused(row):
    with pytest.raises(ValueError, match=row[0]):
        parse_schedule(*row, "UTC", "once", timedelta(days=1))


# Compared with a loop that looks at the clock

SPECS = (
    daily("02:30"),
    daily("00:00"),
    cron("15,45 1,2,3 * * *"),
    cron("0 3 * * SUN"),
    cron("30 2 29 2 *"),
    cron("0 0 L * *"),
    cron("*/30 0,2 * * *"),
    cron("30 */6 1,15 * FRI"),
)


def numbers(text, low, high):
    """The numbers that a field of `SPECS` names."""
    found = set()
    for term in text.split(","):
        span, _, step = term.partition("/")
        if span == "*":
            found |= set(range(low, high + 1, int(step or 1)))
        elif span != "L":
            found.add({"SUN": 0, "FRI": 5}.get(span) if span.isalpha() else int(span))
    return found


def shows(expression):
    """A predicate on what a clock shows, built independently from the five fields."""
    minute, hour, day, month, weekday = expression.split()
    minutes, hours = numbers(minute, 0, 59), numbers(hour, 0, 23)
    days, months, weekdays = numbers(day, 1, 31), numbers(month, 1, 12), numbers(weekday, 0, 6)
    both = day.startswith("*") or weekday.startswith("*")

    def matches(wall):
        if wall.minute not in minutes or wall.hour not in hours or wall.month not in months:
            return False
        of_month = wall.day in days or ("L" in day and (wall + timedelta(days=1)).day == 1)
        of_week = (wall.weekday() + 1) % 7 in weekdays
        return (of_month and of_week) if both else (of_month or of_week)

    return matches


def looked_up(spec, zone, start, end, step):
    """The times of a spec, found by looking at the clock each `step`."""
    matches = shows(spec._expression)
    named = not any(part.startswith("*") for part in spec._expression.split()[:2])
    found, latest, now = [], None, start - timedelta(days=1)
    while now <= end:
        wall = now.astimezone(zone).replace(tzinfo=None)
        if not named:
            hit = matches(wall)
        else:  # what the clock shows for the first time, including what it skipped
            latest = latest or wall - step
            hit = False
            while latest < wall:
                latest += step
                hit = hit or matches(latest)
        if hit and start < now:
            found.append(now)
        now += step
    return found


def agree(spec, name, start, end, step):
    inside = PeriodicSchedule(spec.kind, spec.text, tz=name)
    expected = looked_up(spec, ZoneInfo(name), start, end, step)

    assert list(inside.times_between(start, end)) == expected, (inside, start, end)


@given(
    spec=st.sampled_from(SPECS),
    name=st.sampled_from(ZONES),
    minutes=st.integers(0, 12 * 366 * 24 * 60),
)
def test_the_times_are_those_of_a_loop_that_looks_every_minute(spec, name, minutes):
    start = at("2024-01-01") + minutes * MINUTE

    agree(spec, name, start, start + timedelta(days=1.5), MINUTE)


@given(
    spec=st.sampled_from(SPECS),
    name=st.sampled_from(ZONES),
    minutes=st.integers(0, 2_880),
    data=st.data(),
)
def test_the_times_agree_on_the_days_on_which_the_clocks_change(spec, name, minutes, data):
    change = data.draw(st.sampled_from(changes(name) or [at("2026-01-01")]))
    start = change - minutes * MINUTE

    agree(spec, name, start, start + timedelta(days=1.5), MINUTE)


@pytest.mark.timeout(3600)
def test_the_times_agree_in_all_zones_over_twelve_years(request):
    """In steps of 15 minutes, which suit all zones of these years; a few zones by default.

    Of the zones whose clocks agree in all these years, one is tested.
    """
    full = request.config.getoption("full")
    start, end = (
        at("2024-01-01" if full else "2026-01-01"),
        at("2036-01-01" if full else "2027-01-01"),
    )
    names = {history(name): name for name in ZONES}.values() if full else ZONES[:: len(ZONES) // 3]

    for name in names:
        for spec in SPECS:
            agree(spec, name, start, end, 15 * MINUTE)


def history(name):
    """When a zone changes its clocks, and its offset from UTC from then on."""
    found = [at("2023-12-01"), *changes(name)]
    return tuple((one, one.astimezone(ZoneInfo(name)).utcoffset()) for one in found)


def changes(name):
    """The instants of 2024 to 2035 at which a zone changes its clocks."""
    zone, now, found = ZoneInfo(name), at("2023-12-01"), []
    offset = now.astimezone(zone).utcoffset()
    while now < at("2036-01-01"):
        now += timedelta(days=7)
        if (there := now.astimezone(zone).utcoffset()) != offset:
            change = now - timedelta(days=7)
            while change.astimezone(zone).utcoffset() == offset:
                change += 15 * MINUTE
            found.append(change)
            offset = there
    return found


@pytest.mark.parametrize(
    ("spec", "monitor"),
    [
        (
            daily("09:05", tz="Europe/Paris"),
            {"schedule": {"type": "crontab", "value": "5 9 * * *"}, "timezone": "Europe/Paris"},
        ),
        (
            cron("*/20 3 * JUL MON-FRI", tz="UTC"),
            {"schedule": {"type": "crontab", "value": "*/20 3 * JUL MON-FRI"}, "timezone": "UTC"},
        ),
        (cron("0 9 L * *", tz="UTC"), None),
        (cron("0 9 * * 1#2", tz="UTC"), None),
        (
            every(timedelta(minutes=90)),
            {"schedule": {"type": "interval", "value": 90, "unit": "minute"}},
        ),
        (every(timedelta(days=2)), {"schedule": {"type": "interval", "value": 2, "unit": "day"}}),
        (every(timedelta(seconds=90)), None),
    ],
)
def test_a_monitor_of_sentry_gets_what_it_can_follow(spec, monitor):
    assert spec.monitor() == monitor
