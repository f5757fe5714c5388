"""dramatiq's rate limiters and barriers, counted in PostgreSQL."""

import time
from collections.abc import Callable, Sequence
from datetime import timedelta

from dramatiq.rate_limits import RateLimiterBackend

from workshed import db
from workshed.jobs.locks import counters

LOOK_S = 0.05
MILLISECOND = timedelta(milliseconds=1)


class PostgresRateLimiterBackend(RateLimiterBackend):
    """Counts for `ConcurrentRateLimiter`, `BucketRateLimiter`, `WindowRateLimiter` and `Barrier`.

    `ConcurrentRateLimiter(PostgresRateLimiterBackend(), "printer", limit=2)`. Each number commits
    by itself, also inside an actor with `once=True`: what is taken there is taken at once. Spans
    are milliseconds, by PostgreSQL's clock. Errors of PostgreSQL go out as they are.
    """

    def add(self, key: str, value: int, ttl: int) -> bool:
        """Begin at a number, unless there is one."""
        with db.separate_transaction() as conn:
            return counters.create_counter(conn, key, value, ttl * MILLISECOND)

    def incr(self, key: str, amount: int, maximum: int, ttl: int) -> bool:
        """Count up, unless that is above the maximum."""
        with db.separate_transaction() as conn:
            return counters.change_counter(conn, key, amount, ttl * MILLISECOND, highest=maximum)

    def decr(self, key: str, amount: int, minimum: int, ttl: int) -> bool:
        """Count down, unless that is below the minimum."""
        with db.separate_transaction() as conn:
            return counters.change_counter(conn, key, -amount, ttl * MILLISECOND, lowest=minimum)

    def incr_and_sum(
        self, key: str, keys: Callable[[], Sequence[str]], amount: int, maximum: int, ttl: int
    ) -> bool:
        """Count up, unless the number or the sum of all is above the maximum then."""
        with db.separate_transaction() as conn:
            return counters.change_of_sum(
                conn, key, keys, amount, ttl * MILLISECOND, highest=maximum
            )

    def wait(self, key: str, timeout: int | None) -> bool:
        """Wait until it is notified, for so many milliseconds at most; `None`: for ever.

        A notification stands for its own time to live: who comes later finds it too.
        """
        until = None if timeout is None else time.monotonic() + timeout / 1000
        while True:
            with db.separate_transaction() as conn:
                if counters.is_counted(conn, key):
                    return True
            if until is not None and time.monotonic() + LOOK_S > until:
                return False
            time.sleep(LOOK_S)

    def wait_notify(self, key: str, ttl: int) -> None:
        """Let all who wait go on."""
        with db.separate_transaction() as conn:
            counters.create_counter(conn, key, 1, ttl * MILLISECOND)
