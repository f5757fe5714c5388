"""Rows of the schedule, for commands and pages."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from psycopg.rows import class_row

from workshed.db import Connection
from workshed.jobs.outbox.schedule import Reason

State = Literal["waits", "on its way", "sent"]
REASONS: Mapping[Reason, str] = {
    "transactional": "sent",
    "delayed": "sent for later",
    "retry": "failed, will be retried",
    "snoozed": "snoozed itself",
    "outbox_lease": "its sender is publishing it",
    "broker_down": "RabbitMQ could not take it",
    "interrupted": "requeued when its worker stopped",
    "unknown_actor": "the worker that got it lacks its actor, or an option",
    "redriven": "was dead, retried by an operator",
}
"""Why a job has a row, in words."""


@dataclass(frozen=True, slots=True)
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
                    ELSE 'waits' END AS state
          FROM workshed.schedule
         WHERE message_id = %s
         ORDER BY generation DESC
         LIMIT 1
    """
    with conn.cursor(row_factory=class_row(WaitingJob)) as cur:
        return cur.execute(query, (message_id,)).fetchone()


def count_by_queue(conn: Connection) -> dict[str, int]:
    """Return the number of waiting jobs, by queue."""
    query = "SELECT queue, count(*) FROM workshed.schedule WHERE sent_at IS NULL GROUP BY queue"
    return dict(conn.execute(query).fetchall())
