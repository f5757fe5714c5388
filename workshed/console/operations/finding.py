"""A finding: its level, its cause, and the command or the page that fixes it."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

Level = Literal["ok", "warning", "failed", "not checked"]

LARGEST_SKEW = timedelta(seconds=5)
"""The largest allowed difference between clocks."""


@dataclass(frozen=True, slots=True)
class PageLink:
    """A link to a page of the web console."""

    path: str
    """With its query."""
    text: str


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check."""

    level: Level
    message: str
    fix: str = ""
    """A command."""
    link: PageLink | None = None
    """The page on which an operator fixes it, or sees more of it."""


def ok(message: str) -> Finding:
    """Return a finding that needs no action."""
    return Finding("ok", message)


def warning(message: str, fix: str, link: PageLink | None = None) -> Finding:
    """Return a finding that an operator should look at, although jobs run."""
    return Finding("warning", message, fix, link)


def failed(message: str, fix: str, link: PageLink | None = None) -> Finding:
    """Return a finding that says that jobs do not run, or may be lost or late."""
    return Finding("failed", message, fix, link)


def unchecked(message: str, fix: str = "") -> Finding:
    """Return a finding that says that something could not be checked."""
    return Finding("not checked", message, fix)


def clock_skew(skew: timedelta) -> Finding:
    """Return a warning that a server's clock differs from this host's."""
    said = f"its clock and this host's are {skew.total_seconds():.0f} s apart"
    return warning(said, "timedatectl set-ntp true  (on the host whose clock is wrong)")
