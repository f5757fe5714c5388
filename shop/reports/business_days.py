"""Business days: when each begins and ends, by the clocks of a time zone."""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from workshed.zones import instants_of

MOMENT = timedelta.resolution
A_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Day:
    """A date in a time zone, with its start and its end, which is the start of the next day.

    Both are in UTC. When the clocks change, a day usually has 23 or 25 hours. It has none if a
    zone's clocks skipped it altogether.
    """

    date: date
    zone: str
    starts_at: datetime
    ends_at: datetime


def day_of(of: date, zone: str) -> Day:
    """Return the day of a date."""
    return Day(of, zone, day_start(of, zone), day_start(of + A_DAY, zone))


def previous_day(instant: datetime, zone: str) -> Day:
    """Return the last day that had ended when the day of an instant began."""
    today = day_start(instant.astimezone(ZoneInfo(zone)).date(), zone)
    return day_of((today - MOMENT).astimezone(ZoneInfo(zone)).date(), zone)


def range_ending(last: date, count: int) -> list[date]:
    """Return `count` consecutive dates that end with `last`."""
    return [last - A_DAY * back for back in reversed(range(count))]


def day_start(of: date, zone: str) -> datetime:
    """Return the first moment of a date, in UTC.

    This is midnight. If the clocks show midnight twice, it is the first one; if they skip midnight,
    it is the moment when they do.
    """
    return instants_of(datetime.combine(of, time.min), ZoneInfo(zone), named=True)[0]
