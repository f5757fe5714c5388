"""Parse and format spans, times and sizes for people."""

import re
from datetime import datetime, timedelta

from workshed import duration
from workshed.extras import require_extra

with require_extra("server"):
    import typer

UNITS = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "min": timedelta(minutes=1),
    "s": timedelta(seconds=1),
}
DURATION_METAVAR = "3d|2h|30s"
SIZE_METAVAR = "512M|2G"
SIZE_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
TIME_METAVAR = "2027-01-31T09:00Z"
DISPLAY_UNITS = ("d", "h", "min", "s")
TENTHS_BELOW = 10
THOUSAND = 1000
WHOLE_FROM = 1.95
"""Below about this many of a unit, the next smaller unit is used: 90 min, not 1 h."""


def parse_duration(text: str) -> timedelta:
    """Read `90d`, `15s`, `250ms` or `1h30m`; refuses anything else."""
    try:
        return duration.parse_duration(text)
    except ValueError as err:
        raise typer.BadParameter(str(err)) from None


def parse_size(text: str) -> int:
    """Read `512M`, `2G` or `1.5G` as bytes, by powers of 1024; refuses anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG])(?:i?B)?", text.strip(), re.IGNORECASE)
    if found is None or not float(found[1]):
        raise typer.BadParameter(f"{text!r} is not an amount of memory such as 512M or 2G")
    return int(float(found[1]) * SIZE_UNITS[found[2].upper()])


def parse_time(text: str) -> datetime:
    """Read an ISO 8601 time; refuses one without a time zone, because that is ambiguous."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a time such as {TIME_METAVAR}") from None
    if found.tzinfo is None:
        raise typer.BadParameter(
            f"{text!r} needs a time zone: {text}Z is UTC, {text}+01:00 an hour ahead of it"
        )
    return found


def format_duration(length: timedelta) -> str:
    """Format a span in its largest fitting unit: `2 h`."""
    length = abs(length)
    for unit in DISPLAY_UNITS[:-1]:
        if length >= WHOLE_FROM * UNITS[unit]:
            return f"{length / UNITS[unit]:.0f} {unit}"
    return f"{length.total_seconds():.0f} s"


def format_seconds(length: float | None) -> str | None:
    """Format seconds: `12 ms`, `3.4 s`, `2 min`; `None` stays `None`."""
    if length is None:
        return None
    if length < 1:
        return f"{length * 1000:.0f} ms"
    if length < TENTHS_BELOW:
        return f"{length:.1f} s"
    return format_duration(timedelta(seconds=length))


def format_due(at: datetime, now: datetime) -> str:
    """Format a due time: `in 2 h`, or `since 5 s` if it is overdue."""
    return f"in {format_duration(at - now)}" if at > now else f"since {format_duration(now - at)}"


def format_ago(at: datetime, now: datetime) -> str:
    """Format a past time: `2 h ago`."""
    return f"{format_duration(now - at)} ago"


def format_size(number: int) -> str:
    """Format a number of bytes: `900 bytes`, `46 MB`."""
    found, unit = float(number), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if found < THOUSAND:
            break
        found, unit = found / THOUSAND, larger
    return f"{found:.0f} {unit}"


def format_job_count(number: int) -> str:
    """Format a number of jobs: `1 job`, `2 jobs`."""
    return f"{number} job" if number == 1 else f"{number} jobs"
