"""Absorb the copies of a job that has its outcome."""

import logging

from dramatiq.broker import Broker, MessageProxy
from dramatiq.middleware import SkipMessage

from middleware.job import CopyError, Job, Outcome, Settling
from workshed import db
from workshed.db import Connection
from workshed.jobs import settled

logger = logging.getLogger(__name__)


class Fence(Settling):
    """Let one outcome of each hop take effect.

    A delivery that may have a copy asks at its start, so that a settled job does not run again,
    and settles at its end whatever the outcome: of two copies that run side by side the second to
    end rolls back all that it would have written.

    *Order:* first, so that nothing is written for a copy.
    """

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        """Skip a job that has its outcome."""
        job: Job = message.job
        if not job.copied:
            return
        with db.transaction() as conn:
            if not settled.is_settled(conn, job.message_id, job.hop):
                return
        logger.info("absorbed a copy of %s, which has its outcome already", message)
        raise SkipMessage("a copy of a settled job")

    def concerns(self, job: Job, outcome: Outcome) -> bool:
        """Settle where a copy may exist, and where an outcome is written at all."""
        return job.copied or outcome.kind != "done"

    def settle(self, conn: Connection, job: Job, outcome: Outcome) -> None:
        """Raise `CopyError` when another copy was first."""
        if not settled.settle(conn, job.message_id, job.hop):
            raise CopyError(f"hop {job.hop} of {job.message_id} has its outcome already")
