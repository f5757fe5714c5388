"""Business days: from when to when each of them is, by the clocks of a zone."""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from workshed.zones import instants_of

MOMENT = timedelta.resolution
A_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Day:
    """A date in a zone, and the time from its start up to its end, which is the start of the next.

    Both in UTC. Where the clocks are changed it has 23 or 25 hours, or what the zone has made of
    it; none where they passed over the whole of it.
    """

    date: date
    zone: str
    starts_at: datetime
    ends_at: datetime


def day(of: date, zone: str) -> Day:
    """Return the day of a date."""
    return Day(of, zone, start(of, zone), start(of + A_DAY, zone))


def before(instant: datetime, zone: str) -> Day:
    """Return the last day that was over when the day of an instant began."""
    today = start(instant.astimezone(ZoneInfo(zone)).date(), zone)
    return day((today - MOMENT).astimezone(ZoneInfo(zone)).date(), zone)


def up_to(last: date, count: int) -> list[date]:
    """Return so many dates, of which this is the last."""
    return [last - A_DAY * back for back in reversed(range(count))]


def start(of: date, zone: str) -> datetime:
    """Return when the clocks show the first moment of a date, in UTC.

    Midnight, the first where they show it twice; where they pass over it, the moment they do.
    """
    return instants_of(datetime.combine(of, time.min), ZoneInfo(zone), named=True)[0]
