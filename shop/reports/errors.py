"""The error for a day that cannot be reported; retrying does not help.

PermanentError
└── DayRefusedError     the day cannot be reported
"""

from workshed.errors import PermanentError


class DayRefusedError(PermanentError):
    """The day cannot be reported; nothing was stored or emailed."""

    def __init__(self, date: object, reason: str) -> None:
        """Keep the date as given; the message shows it escaped."""
        super().__init__(f"no report of {str(date)[:100]!a}: {reason}")
        self.date = date
        self.reason = reason
