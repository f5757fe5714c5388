"""`Retry-After` in both of its forms: seconds, or a date (RFC 9110, 10.2.3)."""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

MIN_DELAY, MAX_DELAY = timedelta(seconds=1), timedelta(hours=24)
MAX_DIGITS = 9
"""Numbers with more digits are treated as `LONGEST`."""


def parse_delay(header: str | None, now: datetime) -> timedelta | None:
    """Return how long to wait, from a second to a day.

    `None` if the header is missing, or is neither seconds nor a date.
    """
    text = (header or "").strip()
    if text.isascii() and text.isdecimal():
        found = timedelta(seconds=int(text)) if len(text) <= MAX_DIGITS else MAX_DELAY
    else:
        try:
            at = parsedate_to_datetime(text)
            found = (at if at.tzinfo else at.replace(tzinfo=UTC)) - now
        except (ValueError, OverflowError):  # not a date, or out of range
            return None
    return min(max(found, MIN_DELAY), MAX_DELAY)
