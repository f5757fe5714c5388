"""A job that was taken from PostgreSQL."""

from workshed.jobs.outbox.worker_claims import RowClaim, TakenRow
from workshed.middleware import Job
from workshed.transport.consuming.delivery import START_BEFORE, Delivery
from workshed.transport.messages.envelope import decode_message
from workshed.transport.taking.lease import LeasePeriod

WAITS_S = 10.0
"""After this long a job that has not started goes back, so that an idle process may start it."""


class RowDelivery(Delivery):
    """A claimed row, as dramatiq's worker gets it."""

    def __init__(self, row: TakenRow, claim: RowClaim, lease: LeasePeriod, tag: int) -> None:
        """Decode the message; raises `EnvelopeError`."""
        job = Job(
            decode_message(row.body.encode(), row.queue),
            may_be_duplicate=row.possible_duplicate,
            redelivered=row.possible_duplicate,
            published_s=row.due_at.timestamp(),
        )
        job.claim = claim
        super().__init__(job, lease, tag, WAITS_S / START_BEFORE)

    @property
    def can_be_settled(self) -> bool:
        """Return True: an outcome is stored only together with the deletion of the row."""
        return True
