"""Which day a report is asked for."""

import re
from datetime import UTC, date, datetime

from shop.reports import days
from shop.reports.days import Day
from shop.reports.errors import DayRefusedError
from workshed.db import Connection
from workshed.jobs import Snooze, scheduled_for, sent_at
from workshed.jobs.outbox import claims

FORM = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
FIRST = date(1970, 1, 1)
"""Nobody had sold anything before, and somewhere before Python cannot count any more."""


def asked(conn: Connection, text: str | None, zone: str) -> Day:
    """Return the day of a date; without one, the day before the time that this job is for.

    That is its planned time, or where somebody sent it themselves, when they did; outside a job it
    is now. Raises `DayRefusedError` for a date that is none or not over yet by PostgreSQL's clock.
    """
    now = claims.database_now(conn)
    if text is not None:
        return _dated(text, zone, now)
    found = days.before(scheduled_for() or sent_at() or now, zone)
    if found.ends_at > now:
        # The clock of the process that made the run is ahead, and the day is not over everywhere.
        raise Snooze(found.ends_at - now, f"{found.date} is not over yet in {zone}")
    return found


def _dated(text: str, zone: str, now: datetime) -> Day:
    try:
        of = date.fromisoformat(text) if FORM.fullmatch(str(text)) else None
    except ValueError:
        of = None
    if of is None:
        raise DayRefusedError(text, "that is no date; write YYYY-MM-DD, as in 2026-03-01")
    if of < FIRST:
        raise DayRefusedError(text, f"days are reported from {FIRST} on; ask for a later one")
    # No zone is a day ahead, and behind the last date that Python knows there is none to end it.
    if of > now.astimezone(UTC).date() or (found := days.day(of, zone)).ends_at > now:
        raise DayRefusedError(
            text, f"that day is not over yet in {zone}; ask for it when it is, or for one before"
        )
    if found.starts_at == found.ends_at:
        raise DayRefusedError(text, f"the clocks of {zone} passed over that day; ask for another")
    return found
