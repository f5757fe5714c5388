"""What was told lately: however many look at pages, a process asks RabbitMQ every 5 s at most."""

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

from workshed.console.operations.environment import open_management, require_rabbitmq
from workshed.console.rabbitmq.broker_status import BrokerStatus, fetch_status
from workshed.console.rabbitmq.management_api import Management
from workshed.errors import WorkshedError
from workshed.settings import settings

T = TypeVar("T")

KEPT_S = 5.0
OLD_S = 30.0
"""Nobody is told what is older, even while somebody else asks."""
AMQP_S, API_S = 2.0, 1.0
"""How long a page waits for it: together with the two questions to the API, 4 s."""
MOST = 10


class TtlCache(Generic[T]):
    """Answers that are kept for a moment: one thread asks, the others take the last answer."""

    def __init__(self, kept_s: float = KEPT_S, old_s: float = OLD_S) -> None:
        """Know nothing; an answer is kept for `kept_s`, and for `old_s` while somebody asks."""
        self._kept_s = kept_s
        self._old_s = old_s
        self._answers: dict[Hashable, tuple[float, T]] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, ask: Callable[[], T]) -> T:
        """Return the answer of this key, or ask."""
        before = self._younger_than(self._kept_s, key)
        if before is not None:
            return before[1]
        last = self._younger_than(self._old_s, key)
        if not self._lock.acquire(blocking=last is None):
            assert last is not None  # noqa: S101 -- else it was waited for
            return last[1]
        try:
            before = self._younger_than(self._kept_s, key)
            if before is not None:  # of who had the lock before
                return before[1]
            found = ask()
            if len(self._answers) >= MOST:
                self._answers.clear()
            self._answers[key] = time.monotonic(), found
            return found
        finally:
            self._lock.release()

    def forget(self) -> None:
        """Ask again the next time: something was changed."""
        self._answers.clear()

    def _younger_than(self, seconds: float, key: Hashable) -> tuple[float, T] | None:
        found = self._answers.get(key)
        return found if found and time.monotonic() - found[0] < seconds else None


answers: TtlCache[BrokerStatus] = TtlCache()


def cached_status(names: Sequence[str]) -> BrokerStatus:
    """Return what RabbitMQ tells of these queues, and of its alarms; never raises."""
    try:
        broker, api = require_rabbitmq(), open_management(API_S)
    except WorkshedError as err:
        return BrokerStatus(troubles=[err])
    urls, prefix = list(broker.urls), broker.prefix
    key = (*urls, prefix, str(settings().management_url), *names)
    return answers.get(
        key, lambda: fetch_status(urls, api, names, AMQP_S, prefix=prefix, alarms=True)
    )


def management_link() -> Management | None:
    """Return RabbitMQ's own UI, where it is named so that it can be read."""
    try:
        return open_management()
    except WorkshedError:
        return None
