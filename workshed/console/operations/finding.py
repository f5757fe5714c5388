"""What a check found: how bad it is, its cause, and the line that mends it."""

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
    said: str
    mend: str = ""


def ok(said: str) -> Finding:
    """Nothing to do."""
    return Finding("ok", said)


def warning(said: str, mend: str) -> Finding:
    """Jobs run, but somebody should look."""
    return Finding("warning", said, mend)


def failed(said: str, mend: str) -> Finding:
    """Jobs do not run, or may be lost or late."""
    return Finding("failed", said, mend)


def unchecked(said: str, mend: str = "") -> Finding:
    """Nobody knows."""
    return Finding("not checked", said, mend)


def apart(skew: timedelta) -> Finding:
    """Tell that the clock of a server is not that of this host."""
    said = f"its clock and this host's are {skew.total_seconds():.0f} s apart"
    return warning(said, "timedatectl set-ntp true  (on the host whose clock is wrong)")
