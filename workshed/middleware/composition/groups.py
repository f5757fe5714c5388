"""Send a group's callbacks once each of its jobs is done."""

import logging
from datetime import timedelta
from typing import Any

import dramatiq
from dramatiq import Message
from dramatiq.broker import Broker
from dramatiq.middleware import Middleware
from dramatiq.middleware.group_callbacks import GroupCallbacks

from workshed import db
from workshed.database.postgres import Connection
from workshed.jobs.idempotency import once_keys
from workshed.jobs.locks import counters
from workshed.middleware.composition.callbacks import enqueue_follow_up
from workshed.middleware.concurrency.rate_limiters import PostgresRateLimiterBackend
from workshed.middleware.job import Job, Outcome, OutcomeMiddleware

logger = logging.getLogger(__name__)

SCOPE = "dramatiq.group"
TTL = timedelta(days=30)
"""How long a group's count is kept after the last job that was counted."""


class Groups(GroupCallbacks, OutcomeMiddleware):
    """Send the callbacks of dramatiq's groups (its `GroupCallbacks`).

    Each job counts in the transaction of its outcome. `group(messages)` with
    `add_completion_callback(message)`: each callback is sent once, in the transaction that
    completes the last of the jobs, however often any of them was delivered. A discarded or skipped
    job had nothing left to do, so it counts. A dead or cancelled job does not count: the group
    stays incomplete until you retry the dead job.
    """

    def __init__(self) -> None:
        super().__init__(PostgresRateLimiterBackend(), barrier_ttl=TTL // timedelta(milliseconds=1))
        self._broker: Broker | None = None

    def before_declare_actor(self, broker: Broker, actor: dramatiq.Actor[..., Any]) -> None:
        """Note the broker that callbacks are sent to."""
        self._broker = broker

    # Disabled, because `on_outcome` counts each job, and only once.
    after_process_message = Middleware.after_process_message

    def writes_plain_success(self, actor: dramatiq.Actor[..., Any]) -> bool:
        """Return False: a job of a group has options."""
        return False

    def handles(self, job: Job, outcome: Outcome) -> bool:
        """Return whether a job of a group with callbacks is done."""
        if "group_completion_uuid" not in job.message.options:
            return False
        return outcome.kind in ("succeeded", "discarded", "skipped")

    def on_outcome(self, conn: Connection, job: Job, outcome: Outcome) -> None:
        """Count the job once; after the last one, send the callbacks."""
        options = job.message.options
        group: str = options["group_completion_uuid"]
        if not once_keys.claim_key(conn, SCOPE, f"{group} {job.message_id}", job.message_id):
            return
        if not counters.has_counter(conn, group):
            logger.warning(
                "group %s is older than %d days: its callbacks are not sent", group, TTL.days
            )
        elif not counters.change_counter(conn, group, -1, TTL, lowest=1):
            self._enqueue_callbacks(conn, options["group_completion_callbacks"], outcome)

    def _enqueue_callbacks(
        self, conn: Connection, callbacks: list[dict[str, Any]], outcome: Outcome
    ) -> None:
        assert self._broker is not None  # noqa: S101 -- an actor was declared on it
        with db.join_transaction(conn):
            for fields in callbacks:
                message: Message[Any] = Message(**{**fields, "args": tuple(fields["args"])})
                enqueue_follow_up(
                    self._broker, message.copy(options={"origin": "transaction"}), outcome
                )
