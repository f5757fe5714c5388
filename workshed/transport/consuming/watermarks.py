"""The deliveries of each queue that this process holds, and how far it has read the queue."""

import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from workshed.jobs.control.workers import QueueReport
from workshed.transport.consuming.delivery import Delivery
from workshed.value_class import state_class


@state_class
class Watermark:
    """Publish times of one queue's deliveries since the last report, in Unix s."""

    oldest_held: float | None = None
    """Of the oldest that was held at the last report."""
    oldest_received: float | None = None
    """Of the oldest that arrived since."""
    newest_received: tuple[float, float] | None = None
    """Of the newest that arrived for the first time, and when that was, by `time.monotonic`."""
    oldest_requeued: float | None = None


class QueueWatermarks:
    """Notes which deliveries arrive and are requeued, for reports.

    Each delivery passes here, so an arrival costs two comparisons and no lock: only the thread that
    consumes a queue notes its arrivals.
    """

    def __init__(self) -> None:
        self._watermarks: defaultdict[str, Watermark] = defaultdict(Watermark)
        self._lock = threading.Lock()

    def record_received(self, delivery: Delivery, *, lowest: bool) -> None:
        """Note a delivery; `lowest`: it has the lowest priority, so all others come before it."""
        published = delivery.job.published_s
        if published is None:  # from another program, which does not say
            return
        account = self._watermarks[delivery.queue_name]
        if account.oldest_received is None or published < account.oldest_received:
            account.oldest_received = published
        first_time = lowest and not delivery.job.redelivered
        if first_time and (
            account.newest_received is None or published > account.newest_received[0]
        ):
            account.newest_received = published, time.monotonic()

    def record_requeued(self, queue: str, published: float | None) -> None:
        """Note that a delivery is requeued."""
        with self._lock:
            account = self._watermarks[queue]
            account.oldest_requeued = earliest_known([account.oldest_requeued, published])

    def record_all_requeued(self, queue: str) -> None:
        """Note that all held deliveries of a queue are requeued."""
        account = self._watermarks[queue]
        self.record_requeued(queue, earliest_known([account.oldest_held, account.oldest_received]))

    def snapshot(
        self, queues: Iterable[str], waiting: list[Delivery], running: list[Delivery]
    ) -> list[QueueReport]:
        """Report per queue what is held now, and what arrived and was requeued since last time."""
        return [self._snapshot_queue(queue, waiting, running) for queue in queues]

    def _snapshot_queue(
        self, queue: str, waiting: list[Delivery], running: list[Delivery]
    ) -> QueueReport:
        account = self._watermarks[queue]
        unstarted = earliest_known(publish_times(queue, waiting))
        came, account.oldest_received = account.oldest_received, None
        newest, account.newest_received = account.newest_received, None
        # New arrivals may not be in any list yet, on their way from one thread to another.
        account.oldest_held = earliest_known([unstarted, came, *publish_times(queue, running)])
        with self._lock:
            returned, account.oldest_requeued = account.oldest_requeued, None
        return QueueReport(
            queue=queue,
            oldest_waiting=to_datetime(unstarted),
            oldest_held=to_datetime(account.oldest_held),
            newest_first_delivery=to_datetime(newest and newest[0]),
            newest_delivery_age=timedelta(seconds=time.monotonic() - newest[1])
            if newest
            else timedelta(),
            oldest_requeued=to_datetime(returned),
        )


def publish_times(queue: str, deliveries: list[Delivery]) -> list[float | None]:
    """Return the publish times of a queue's deliveries that this process can still settle."""
    return [d.job.published_s for d in deliveries if d.queue_name == queue and d.channel.is_open]


def earliest_known(times: Iterable[float | None]) -> float | None:
    """Return the earliest of the known times."""
    return min((at for at in times if at is not None), default=None)


def to_datetime(at: float | None) -> datetime | None:
    """Return a time of Unix s as PostgreSQL takes it."""
    return None if at is None else datetime.fromtimestamp(at, UTC)
