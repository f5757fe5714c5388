"""What a check found: how bad it is, its cause, and the command that fixes it."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

Level = Literal["ok", "warning", "failed", "not checked"]

SKEW = timedelta(seconds=5)
"""By more than this clocks may not differ."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is well, or not."""

    level: Level
    message: str
    fix: str = ""


def ok(message: str) -> Finding:
    """Nothing to do."""
    return Finding("ok", message)


def warning(message: str, fix: str) -> Finding:
    """Jobs run, but somebody should look."""
    return Finding("warning", message, fix)


def failed(message: str, fix: str) -> Finding:
    """Jobs do not run, or may be lost or late."""
    return Finding("failed", message, fix)


def unchecked(message: str, fix: str = "") -> Finding:
    """Nobody knows."""
    return Finding("not checked", message, fix)


def clock_skew(skew: timedelta) -> Finding:
    """Tell that the clock of a server is not that of this host."""
    said = f"its clock and this host's are {skew.total_seconds():.0f} s apart"
    return warning(said, "timedatectl set-ntp true  (on the host whose clock is wrong)")
