"""Durations as texts, and in milliseconds, the unit of dramatiq."""

import re
from datetime import timedelta

__all__ = [
    "Milliseconds",
    "format_duration",
    "format_rounded",
    "ms",
    "parse_duration",
    "to_ms",
]

MILLISECOND = timedelta(milliseconds=1)
UNITS = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": MILLISECOND,
}
"""From the largest to the smallest."""
THOUSAND = 1000
TENTHS_BELOW_S = 10
"""From here on, a rounded duration is in whole seconds."""
NEARLY_ONE = 0.05
"""What differs from one unit by no more than this part is that unit: 1h, not 59m."""
WHOLE_FROM = 1.95
"""Below about this many of a unit, the next smaller unit is used: 90m, not 1h."""
PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|min|d|h|m|s)")


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


def parse_duration(text: str) -> timedelta:
    """Read `90d`, `15s`, `250ms` or `1h30m`; raises `ValueError`.

    Units are `d`, `h`, `m` or `min`, `s` and `ms`; a number without one is refused.
    """
    parts = PART.findall(text)
    if not parts or PART.sub("", text).strip():
        raise ValueError(f"{text!r} is not a duration such as 90d, 15s, 250ms or 1h30m")
    try:
        return sum(
            (float(number) * UNITS["m" if unit == "min" else unit] for number, unit in parts),
            timedelta(),
        )
    except OverflowError:
        raise ValueError(f"{text!r} is too long") from None


def format_duration(length: timedelta) -> str:
    """Format a duration as `parse_duration` reads it, exactly: `90d`, `1h30m`, `0s`."""
    parts = []
    for unit, size in UNITS.items():
        count, length = divmod(length, size)
        if count:
            parts.append(f"{count}{unit}")
    if length:
        parts.append(f"{length / MILLISECOND:g}ms")
    return "".join(parts) or "0s"


def format_rounded(length: timedelta) -> str:
    """Format a duration for people, in its largest fitting unit: `250ms`, `3.4s`, `90m`, `2d`."""
    for unit in ("d", "h", "m"):
        units = length / UNITS[unit]
        if abs(units - 1) <= NEARLY_ONE or units >= WHOLE_FROM:
            return f"{units:.0f}{unit}"
    seconds = length.total_seconds()
    if (milliseconds := round(seconds * 1000)) < THOUSAND:
        return f"{milliseconds}ms"
    tenths = round(seconds, 1)
    return f"{tenths:g}s" if tenths < TENTHS_BELOW_S else f"{seconds:.0f}s"
