"""Durations in milliseconds, the unit of dramatiq."""

from datetime import timedelta

__all__ = ["ms"]


def ms(*, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0) -> int:
    """Return whole milliseconds, for dramatiq's options: `ms(minutes=1)` is 60 000."""
    span = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    return span // timedelta(milliseconds=1)
