"""What this process holds of each queue, and how far it has got there."""

import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from workshed.jobs.control.workers import QueueReport
from workshed.transport.consuming.delivery import Delivery


@dataclass(slots=True)
class Watermark:
    """One queue, since the last report."""

    held: datetime | None = None
    """The publish of the oldest that was held at the last report."""
    oldest: datetime | None = None
    """That of the oldest that came since."""
    newest: tuple[datetime, float] | None = None
    """That of the newest that came for the first time, and when, by `time.monotonic`."""
    returned: datetime | None = None


class QueueWatermarks:
    """Notes what comes and what goes back; what it holds is looked at when a report is made.

    Each delivery passes here, so that costs two comparisons and no lock: only the thread that
    consumes a queue notes what comes of it.
    """

    def __init__(self) -> None:
        """Nothing came."""
        self._accounts: defaultdict[str, Watermark] = defaultdict(Watermark)
        self._lock = threading.Lock()

    def got(self, delivery: Delivery, *, lowest: bool) -> None:
        """Note a delivery; `lowest`: of the lowest priority, so that all others come before it."""
        published = delivery.job.published
        if published is None:  # of a foreign sender: nobody knows
            return
        account = self._accounts[delivery.queue_name]
        if account.oldest is None or published < account.oldest:
            account.oldest = published
        first_time = lowest and not delivery.job.redelivered
        if first_time and (account.newest is None or published > account.newest[0]):
            account.newest = published, time.monotonic()

    def returned(self, queue: str, published: datetime | None) -> None:
        """Note that a delivery goes back."""
        with self._lock:
            account = self._accounts[queue]
            account.returned = earliest_known([account.returned, published])

    def lost(self, queue: str) -> None:
        """Note that all that was held of a queue goes back."""
        account = self._accounts[queue]
        self.returned(queue, earliest_known([account.held, account.oldest]))

    def report(
        self, queues: Iterable[str], waiting: list[Delivery], running: list[Delivery]
    ) -> list[QueueReport]:
        """Say what is held of each of these queues now, and what came and went since last time."""
        return [self._of(queue, waiting, running) for queue in queues]

    def _of(self, queue: str, waiting: list[Delivery], running: list[Delivery]) -> QueueReport:
        account = self._accounts[queue]
        unstarted = earliest_known(publish_times(queue, waiting))
        came, account.oldest = account.oldest, None
        newest, account.newest = account.newest, None
        # What came since may not be in any list yet, on its way from one thread to another.
        account.held = earliest_known([unstarted, came, *publish_times(queue, running)])
        with self._lock:
            returned, account.returned = account.returned, None
        return QueueReport(
            queue=queue,
            waiting=unstarted,
            held=account.held,
            got=newest and newest[0],
            got_ago=timedelta(seconds=time.monotonic() - newest[1]) if newest else timedelta(),
            returned=returned,
        )


def publish_times(queue: str, deliveries: list[Delivery]) -> list[datetime | None]:
    """Return when those of a queue were published that are still ours to settle."""
    return [d.job.published for d in deliveries if d.queue_name == queue and d.channel.is_open]


def earliest_known(times: Iterable[datetime | None]) -> datetime | None:
    """Return the first of the times that are known."""
    return min((at for at in times if at is not None), default=None)
