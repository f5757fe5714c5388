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

    For example `ConcurrentRateLimiter(PostgresRateLimiterBackend(), "printer", limit=2)`. Each
    change commits by itself at once, even inside an actor with `once=True`. Durations are
    milliseconds, by PostgreSQL's clock. PostgreSQL's errors are raised unchanged.
    """

    def add(self, key: str, value: int, ttl: int) -> bool:
        """Create a counter with this value, unless it exists."""
        with db.separate_transaction() as conn:
            return counters.create_counter(conn, key, value, ttl * MILLISECOND)

    def incr(self, key: str, amount: int, maximum: int, ttl: int) -> bool:
        """Increase the counter, unless it would exceed the maximum."""
        with db.separate_transaction() as conn:
            return counters.change_counter(conn, key, amount, ttl * MILLISECOND, highest=maximum)

    def decr(self, key: str, amount: int, minimum: int, ttl: int) -> bool:
        """Decrease the counter, unless it would fall below the minimum."""
        with db.separate_transaction() as conn:
            return counters.change_counter(conn, key, -amount, ttl * MILLISECOND, lowest=minimum)

    def incr_and_sum(
        self, key: str, keys: Callable[[], Sequence[str]], amount: int, maximum: int, ttl: int
    ) -> bool:
        """Increase the counter, unless it or the sum of all would exceed the maximum."""
        with db.separate_transaction() as conn:
            return counters.change_within_sum(
                conn, key, keys, amount, ttl * MILLISECOND, highest=maximum
            )

    def wait(self, key: str, timeout: int | None) -> bool:
        """Wait for a notification, at most `timeout` milliseconds; `None`: without a limit.

        A notification stays until its time to live ends, so later callers also receive it.
        """
        until = None if timeout is None else time.monotonic() + timeout / 1000
        while True:
            with db.separate_transaction() as conn:
                if counters.has_counter(conn, key):
                    return True
            if until is not None and time.monotonic() + LOOK_S > until:
                return False
            time.sleep(LOOK_S)

    def wait_notify(self, key: str, ttl: int) -> None:
        """Notify everything that waits."""
        with db.separate_transaction() as conn:
            counters.create_counter(conn, key, 1, ttl * MILLISECOND)
