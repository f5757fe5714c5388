"""Rows of the schedule, for commands and pages."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

from workshed.console.operations.operation import Operation
from workshed.database.postgres import Connection, class_row
from workshed.jobs.outbox import schedule
from workshed.jobs.outbox.schedule import Reason
from workshed.value_class import value_class

State = Literal["scheduled", "on its way", "sent"]
GONE_ANSWER = "no longer waiting"
GONE_REASON = "Another operator or a relay has already handled it."
REASONS: Mapping[Reason, str] = {
    "transactional": "sent",
    "delayed": "sent for later",
    "retry": "failed, will be retried",
    "snoozed": "snoozed",
    "outbox_lease": "its sender is publishing it",
    "broker_down": "RabbitMQ could not take it",
    "interrupted": "requeued when its worker stopped",
    "unknown_actor": "the worker that got it lacks its actor, or an option",
    "redriven": "was dead, retried by an operator",
}
"""Why a job has a row, in words."""


@value_class
class WaitingJob:
    """The latest row of a message."""

    message_id: str
    generation: int
    queue: str
    actor: str
    body: str
    reason: Reason
    state: State
    """`sent`: it is on RabbitMQ; the row is kept until its outcome is stored."""
    due_at: datetime
    created_at: datetime


def get_scheduled(conn: Connection, message_id: str) -> WaitingJob | None:
    """Return the latest row of a message."""
    query = """
        SELECT message_id, generation, queue, actor, body, reason, due_at, created_at,
               CASE WHEN sent_at IS NOT NULL THEN 'sent'
                    WHEN claimed_by IS NOT NULL OR reason = 'outbox_lease' THEN 'on its way'
                    ELSE 'scheduled' END AS state
          FROM workshed.schedule
         WHERE message_id = %s
         ORDER BY generation DESC
         LIMIT 1
    """
    with conn.cursor(row_factory=class_row(WaitingJob)) as cur:
        return cur.execute(query, (message_id,)).fetchone()


def find_sorted(_: Connection, ids: Sequence[str]) -> dict[str, str]:
    """Return all ids, sorted, because jobs are locked in that order; a missing one is no error."""
    return {message_id: message_id for message_id in sorted(ids)}


RUN = Operation(
    "scheduled.run",
    "message_id",
    find_sorted,
    schedule.run_now,
    changed={"moved": "Due now."},
    unchanged=("on its way",),
    gone_answer=GONE_ANSWER,
    gone_reason=GONE_REASON,
)


def move_to(due_at: datetime) -> Operation[str]:
    """Return the operation that gives jobs another due time."""

    def move(conn: Connection, message_id: str) -> str:
        return schedule.move_job(conn, message_id, due_at)

    return Operation(
        "scheduled.move",
        "message_id",
        find_sorted,
        move,
        changed={"moved": f"Due at {due_at:%Y-%m-%d %H:%M:%S %Z}."},
        gone_answer=GONE_ANSWER,
        gone_reason=GONE_REASON,
        more_details={"to": due_at},
    )
