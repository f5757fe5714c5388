"""A cache shared by all viewers, so that a process asks for depths at most every 5 s."""

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

from workshed.console.operations.environment import open_queue_server
from workshed.console.rabbitmq.broker_status import BrokerStatus
from workshed.database.postgres import Connection
from workshed.errors import WorkshedError

T = TypeVar("T")

KEPT_S = 5.0
OLD_S = 30.0
"""An older answer is never returned, not even while another thread asks."""
AMQP_S, API_S = 2.0, 1.0
"""How long a page waits for each request: with two requests to the API, 4 s in all."""
MOST_ENTRIES = 10


class TtlCache(Generic[T]):
    """A short-lived cache: one thread asks, the others get the last answer."""

    def __init__(self, kept_s: float = KEPT_S, old_s: float = OLD_S) -> None:
        """Keep an answer for `kept_s` seconds, and for `old_s` while another thread asks."""
        self._kept_s = kept_s
        self._old_s = old_s
        self._answers: dict[Hashable, tuple[float, T]] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, ask: Callable[[], T]) -> T:
        """Return the cached answer of a key, or ask for a new one."""
        before = self._younger_than(self._kept_s, key)
        if before is not None:
            return before[1]
        last = self._younger_than(self._old_s, key)
        if not self._lock.acquire(blocking=last is None):
            assert last is not None  # noqa: S101 -- otherwise `acquire` blocks
            return last[1]
        try:
            before = self._younger_than(self._kept_s, key)
            if before is not None:  # from the thread that held the lock
                return before[1]
            found = ask()
            if len(self._answers) >= MOST_ENTRIES:
                self._answers.clear()
            self._answers[key] = time.monotonic(), found
            return found
        finally:
            self._lock.release()

    def clear(self) -> None:
        """Drop all answers, because something was changed."""
        self._answers.clear()

    def _younger_than(self, seconds: float, key: Hashable) -> tuple[float, T] | None:
        found = self._answers.get(key)
        return found if found and time.monotonic() - found[0] < seconds else None


status_cache: TtlCache[BrokerStatus] = TtlCache()


def cached_status(conn: Connection, names: Sequence[str]) -> BrokerStatus:
    """Return the counts of these queues, and RabbitMQ's alarms; has RabbitMQ's errors."""
    try:
        server = open_queue_server(AMQP_S, API_S)
        return status_cache.get(
            (server.cache_key, *names), lambda: server.fetch_status(conn, names, alarms=True)
        )
    except WorkshedError as err:
        return BrokerStatus(errors=[err])
