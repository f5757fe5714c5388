"""Parse and format spans, times and sizes for people."""

import re
from datetime import datetime, timedelta

from workshed import duration
from workshed.extras import require_extra

with require_extra("server"):
    import typer

DURATION_METAVAR = "3d|2h|30s"
SIZE_METAVAR = "512M|2G"
SIZE_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
TIME_METAVAR = "2027-01-31T09:00Z"
THOUSAND = 1000
LONGEST_DURATION = timedelta(days=36_500)
"""PostgreSQL's times begin 4713 BC, so it cannot subtract much more from now."""


def parse_duration(text: str) -> timedelta:
    """Read `90d`, `15s`, `250ms` or `1h30m`; refuses anything else, and more than 100 years."""
    try:
        found = duration.parse_duration(text)
    except ValueError as err:
        raise typer.BadParameter(str(err)) from None
    if found > LONGEST_DURATION:
        raise typer.BadParameter(f"{text!r} is too long: at most {LONGEST_DURATION.days}d")
    return found


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
    """Format a span to the second, in its largest fitting unit: `0s`, `8s`, `90m`, `2d`."""
    seconds = timedelta(seconds=round(abs(length).total_seconds()))
    return duration.format_rounded(seconds) if seconds else "0s"


def format_seconds(length: float | None) -> str | None:
    """Format seconds to the millisecond: `250ms`, `3.4s`, `2m`; `None` stays `None`."""
    return None if length is None else duration.format_rounded(timedelta(seconds=length))


def format_due(at: datetime, now: datetime) -> str:
    """Format a due time: `in 2h`, or `since 5s` if it is overdue."""
    return f"in {format_duration(at - now)}" if at > now else f"since {format_duration(now - at)}"


def format_ago(at: datetime, now: datetime) -> str:
    """Format a past time: `2h ago`."""
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
