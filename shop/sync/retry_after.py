"""`Retry-After` in both of its forms: seconds, or a date (RFC 9110, 10.2.3)."""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

SHORTEST, LONGEST = timedelta(seconds=1), timedelta(hours=24)
DIGITS = 9
"""Of more seconds than that no span is made."""


def delay_of(header: str | None, now: datetime) -> timedelta | None:
    """Return how long to wait, from a second to a day.

    `None` where the header is not there, or says neither seconds nor a date.
    """
    text = (header or "").strip()
    if text.isascii() and text.isdecimal():
        found = timedelta(seconds=int(text)) if len(text) <= DIGITS else LONGEST
    else:
        try:
            at = parsedate_to_datetime(text)
            found = (at if at.tzinfo else at.replace(tzinfo=UTC)) - now
        except (ValueError, OverflowError):  # no date, or none that a calendar has
            return None
    return min(max(found, SHORTEST), LONGEST)
