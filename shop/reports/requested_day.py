"""The day for which a report is requested."""

import re
from datetime import UTC, date, datetime

from shop.reports import business_days
from shop.reports.business_days import Day
from shop.reports.errors import DayRefusedError
from workshed.database.postgres import database_now
from workshed.db import Connection
from workshed.jobs import Snooze, scheduled_for, sent_at

DATE_PATTERN = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
FIRST_DATE = date(1970, 1, 1)
"""The earliest day that is reported: there were no sales before, and dates have a lower limit."""


def resolve_day(conn: Connection, text: str | None, zone: str) -> Day:
    """Return the day of a date; without a date, the day before the time that this job is for.

    That time is when a periodic job was due, or when the job was sent; outside of a job it is now.
    Raises `DayRefusedError` for an invalid date, or one that is not over by PostgreSQL's clock.
    """
    now = database_now(conn)
    if text is not None:
        return _parse_day(text, zone, now)
    found = business_days.previous_day(scheduled_for() or sent_at() or now, zone)
    if found.ends_at > now:
        # The clock of the process that made the periodic run is ahead of PostgreSQL's.
        raise Snooze(found.ends_at - now, f"{found.date} is not over yet in {zone}")
    return found


def _parse_day(text: str, zone: str, now: datetime) -> Day:
    try:
        of = date.fromisoformat(text) if DATE_PATTERN.fullmatch(str(text)) else None
    except ValueError:
        of = None
    if of is None:
        raise DayRefusedError(text, "that is not a date; write YYYY-MM-DD, as in 2026-03-01")
    if of < FIRST_DATE:
        raise DayRefusedError(text, f"days are reported from {FIRST_DATE} on; ask for a later one")
    # No time zone is a day ahead of UTC. The first check also excludes Python's last date, whose
    # end could not be computed.
    if of > now.astimezone(UTC).date() or (found := business_days.day_of(of, zone)).ends_at > now:
        raise DayRefusedError(
            text, f"that day is not over yet in {zone}; ask for it when it is, or for one before"
        )
    if found.starts_at == found.ends_at:
        raise DayRefusedError(text, f"the clocks of {zone} passed over that day; ask for another")
    return found
