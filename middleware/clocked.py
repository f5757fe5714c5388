"""A spec as the clocks of periodiq ask for it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from workshed.cron import Spec

STILL = timedelta(minutes=1)
"""A clock that wakes up late, or starts, still makes a run of this age."""
ROUNDED = timedelta(seconds=1)
"""`periodiq` rounds the time at which it woke up to the nearest second."""


class Clocked:
    """A spec as `periodiq` asks for it; it calls `validate` and `next_valid_date`, no more.

    Not its `CronSpec`, of which none of the rest would be true: a worker would import all of
    periodiq and pendulum for two methods that it never calls.
    """

    def __init__(self, spec: Spec, say: Callable[[], None]) -> None:
        """`say` is called when a clock asks, which it does for the first time when it starts."""
        self.spec = spec
        self._say = say

    def __str__(self) -> str:
        """Write it as in `periodiq`'s list."""
        return str(self.spec)

    def monitor(self) -> dict[str, object] | None:
        """Return the schedule as a cron monitor of Sentry has it, if it can."""
        return self.spec.monitor()

    def validate(self, now: datetime) -> bool:
        """Tell whether it is time, or was a moment ago; a run that was made is not made again."""
        self._say()
        return self.latest(now) is not None

    def latest(self, now: datetime) -> datetime | None:
        """Return the last time within a minute."""
        now = plain(now)
        return max(self.spec.between(now - STILL, now), default=None)

    def next_valid_date(self, last: datetime) -> datetime:
        """Return when to wake up.

        Not in the past, however long the last job took: periodiq then calls itself at once, from
        within, until Python ends it after a thousand times. Nor after a time that is to come: it
        would sleep until then when its host is put back meanwhile.
        """
        woken, now = plain(last), datetime.now(UTC)
        return self.spec.next_after(woken if now < woken < now + ROUNDED else now)


def plain(time: datetime) -> datetime:
    """Return one of Python's own times: `periodiq` asks with pendulum's, which count otherwise."""
    return datetime.fromtimestamp(time.timestamp(), UTC)
