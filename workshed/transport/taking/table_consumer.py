"""A worker's consumer of one queue, whose jobs are rows."""

import functools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Self

from workshed import db
from workshed.jobs.batches import batches
from workshed.jobs.dead import dead_jobs
from workshed.jobs.outbox.worker_claims import RowClaim, TakenRow
from workshed.metrics import meters
from workshed.queues import Queue
from workshed.transport.consuming.delivery import Delivery
from workshed.transport.consuming.settling_consumer import SettlingConsumer
from workshed.transport.errors import EnvelopeError
from workshed.transport.taking.lease import LeasePeriod
from workshed.transport.taking.row_delivery import RowDelivery

if TYPE_CHECKING:
    from workshed.transport.taking.table_inbox import TableInbox

OnDeliveries = Callable[[list[Delivery]], None]
FindUnrunnable = Callable[[Delivery], Callable[[], bool] | None]


class TableConsumer(SettlingConsumer):
    """Consumes a queue; the taking thread queues its jobs for the worker threads."""

    def __init__(
        self,
        inbox: "TableInbox",
        queue: Queue,
        prefetch: int,
        timeout_s: float,
        on_deliveries: OnDeliveries,
        find_unrunnable: FindUnrunnable,
    ) -> None:
        """Consume nothing until dramatiq iterates, because then it can settle the deliveries."""
        super().__init__(inbox, queue, timeout_s, inbox.settle)
        self.prefetch = prefetch
        self._table_inbox = inbox
        self._on_deliveries = on_deliveries
        self._find_unrunnable = find_unrunnable

    def __iter__(self) -> Self:
        """Start consuming."""
        self._table_inbox.consume(self)
        return self

    def close(self) -> None:
        """Stop consuming, and release what no thread will settle."""
        self._table_inbox.remove(self)
        for lease, tag, _ in self._take_quarantined():
            self._table_inbox.settle(lease, tag, "requeue")

    def receive(self, rows: Iterable[tuple[int, TakenRow, RowClaim]], lease: LeasePeriod) -> None:
        """Queue rows, each with its tag, for the worker threads; in the taking thread."""
        ready: list[Delivery] = []
        for tag, row, claim in rows:
            try:
                delivery = RowDelivery(row, claim, lease, tag)
            except EnvelopeError as err:
                step = functools.partial(dead_letter_row, row, claim, err)
                self._quarantine_queue.put((lease, tag, step))
                continue
            unrunnable = self._find_unrunnable(delivery)
            if unrunnable is None:
                ready.append(delivery)
            else:
                self._quarantine_queue.put((lease, tag, unrunnable))
        if ready:
            self._on_deliveries(ready)


def dead_letter_row(row: TakenRow, claim: RowClaim, error: EnvelopeError) -> bool:
    """Move an unreadable row to the dead table."""
    with db.transaction() as conn:
        if claim.end(conn):
            dead_jobs.add_dead_job(
                conn,
                message_id=row.message_id,
                generation=row.generation,
                attempt=0,
                queue=row.queue,
                actor=None,
                body=row.body.encode(),
                reason=str(error),
                error=error,
            )
            batches.end_batch_job(conn, row.message_id, "dead")
            meters.UNREADABLE.add(row.queue)
    return True
