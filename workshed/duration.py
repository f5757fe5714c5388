"""Durations in milliseconds, the unit of dramatiq."""

from datetime import timedelta

__all__ = ["Milliseconds", "ms", "to_ms"]

MILLISECOND = timedelta(milliseconds=1)


class Milliseconds(int):
    """Whole milliseconds that were computed from a duration with a unit.

    A plain integer may have been meant as seconds.
    """


def ms(*, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0) -> int:
    """Return whole milliseconds, for dramatiq's options: `ms(minutes=1)` is 60 000."""
    return to_ms(timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds))


def to_ms(span: timedelta) -> Milliseconds:
    """Return a duration in whole milliseconds."""
    return Milliseconds(span // MILLISECOND)
