"""A spec as the clocks of periodiq ask for it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from workshed.cronspec import Spec

STILL = timedelta(minutes=1)
"""A clock that wakes up late, or starts, still makes a run of this age."""
SECOND = timedelta(seconds=1)
NAP = timedelta(microseconds=999_999)
"""`periodiq` sleeps through less than a second, and sets an alarm for whole ones."""
MOMENT = timedelta(milliseconds=10)
"""What is nearer may be past when `periodiq` has reckoned how long to sleep; it warns of that."""


class PeriodiqSpec:
    """A spec as `periodiq` asks for it; it calls `validate` and `next_valid_date`, no more.

    `validate` makes the run that is due, and always returns False: so `periodiq` itself never sends
    a message.

    Not its `CronSpec`, of which none of the rest would be true: a worker would import all of
    periodiq and pendulum for two methods that it never calls.
    """

    def __init__(
        self, spec: Spec, say: Callable[[], None], make: Callable[[datetime], None]
    ) -> None:
        """`say` is called when a clock asks, for the first time when it starts; `make` for a run.

        What `make` raises would end the clock, and with it all other jobs.
        """
        self.spec = spec
        self._say = say
        self._make = make
        self._made: datetime | None = None

    def __str__(self) -> str:
        """Write it as in `periodiq`'s list."""
        return str(self.spec)

    def monitor(self) -> dict[str, object] | None:
        """Return the schedule as a cron monitor of Sentry has it, if it can."""
        return self.spec.monitor()

    def validate(self, now: datetime) -> bool:
        """Make the run that is due, or was within the last minute, once; always return False."""
        self._say()
        time = self.latest(now)
        if time is not None and time != self._made:
            self._made = time
            self._make(time)
        return False

    def latest(self, now: datetime) -> datetime | None:
        """Return the last time within a minute."""
        now = to_datetime(now)
        return max(self.spec.between(now - STILL, now), default=None)

    def next_valid_date(self, _last: datetime) -> datetime:
        """Return the next second, so that a clock looks at each: it rounds to the nearest one.

        Told a time that is far off, periodiq sets an alarm for it. That comes too late where the
        host was put forward or slept meanwhile, too early or never where it was put back; and where
        another thread gets the signal, the one that waits is not woken, and the clock stands still
        for ever. Nor is it told a time that is past: it calls itself then, from within, until
        Python ends it after a thousand times.
        """
        now = datetime.now(UTC)
        return min((now + MOMENT).replace(microsecond=0) + SECOND, now + NAP)


def to_datetime(time: datetime) -> datetime:
    """Return one of Python's own times: `periodiq` asks with pendulum's, which count otherwise."""
    return datetime.fromtimestamp(time.timestamp(), UTC)
