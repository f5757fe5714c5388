"""A schedule with the interface that the clocks of periodiq expect."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from workshed.cronspec import PeriodicSchedule

CATCH_UP_SPAN = timedelta(minutes=1)
"""A clock that wakes up late, or starts, still creates a run of this age."""
SECOND = timedelta(seconds=1)
LONGEST_SLEEP = timedelta(microseconds=999_999)
"""`periodiq` sleeps for less than a second, but sets an alarm for whole seconds."""
SAFETY_MARGIN = timedelta(milliseconds=10)
"""A nearer time may have passed before `periodiq` computes its sleep, and it warns of that."""


class PeriodiqSpec:
    """A schedule with the two methods that `periodiq` calls: `validate` and `next_valid_date`.

    `validate` creates the run that is due and always returns False, so `periodiq` itself never
    sends a message.

    It does not inherit from periodiq's `CronSpec`, whose other methods would be wrong here. A
    worker would also have to import periodiq and pendulum for two methods that it never calls.
    """

    def __init__(
        self, spec: PeriodicSchedule, say: Callable[[], None], make: Callable[[datetime], None]
    ) -> None:
        """Call `say` whenever a clock asks, the first time when it starts, and `make` for each run.

        An error that `make` raises would end the clock, and with it all other jobs.
        """
        self.spec = spec
        self._on_tick = say
        self._create_run = make
        self._last_created: datetime | None = None

    def __str__(self) -> str:
        """Return the text that `periodiq` lists."""
        return str(self.spec)

    def monitor(self) -> dict[str, object] | None:
        """Return the schedule for a Sentry cron monitor, or `None` if that cannot express it."""
        return self.spec.monitor()

    def validate(self, now: datetime) -> bool:
        """Create the run that is due, or was within the last minute, once; always return False."""
        self._on_tick()
        time = self.last_due_time(now)
        if time is not None and time != self._last_created:
            self._last_created = time
            self._create_run(time)
        return False

    def last_due_time(self, now: datetime) -> datetime | None:
        """Return the last scheduled time within the past minute."""
        now = to_datetime(now)
        return max(self.spec.times_between(now - CATCH_UP_SPAN, now), default=None)

    def next_valid_date(self, _last: datetime) -> datetime:
        """Return the next second, so that a clock checks each; it rounds to the nearest one.

        Given a distant time, periodiq sets an alarm for it. The alarm comes too late if the host's
        clock was put forward or the host slept meanwhile, and too early or never if the clock was
        put back. If another thread receives the signal, the waiting thread is not woken and the
        clock stands still for ever. Given a time in the past, periodiq calls itself recursively
        until Python stops it after a thousand calls.
        """
        now = datetime.now(UTC)
        return min((now + SAFETY_MARGIN).replace(microsecond=0) + SECOND, now + LONGEST_SLEEP)


def to_datetime(time: datetime) -> datetime:
    """Convert pendulum's time, with which `periodiq` asks and whose arithmetic differs."""
    return datetime.fromtimestamp(time.timestamp(), UTC)
