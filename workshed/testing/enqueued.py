"""The schedule as the kit reads it: all waiting jobs in the order in which they will run."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

import dramatiq

from workshed.db import Connection
from workshed.transport.messages.envelope import decode_message
from workshed.value_class import value_class


@value_class
class EnqueuedJob:
    """A job that waits to run."""

    message: dramatiq.Message[Any]
    due_at: datetime
    sent_at: datetime
    is_due: bool

    @property
    def message_id(self) -> str:
        """The id that `send` returned."""
        return self.message.message_id

    @property
    def actor(self) -> str:
        """Name of the actor that will run it."""
        return self.message.actor_name

    @property
    def queue(self) -> str:
        """Name of its queue."""
        return self.message.queue_name

    @property
    def priority(self) -> int | None:
        """RabbitMQ's priority (`broker_priority`), if it was sent with one."""
        return self.message.options.get("broker_priority")

    @property
    def delay(self) -> timedelta:
        """How long it waits, from when it was sent or rescheduled."""
        return self.due_at - self.sent_at


def list_enqueued(conn: Connection) -> list[EnqueuedJob]:
    """Return the waiting jobs in the order in which they will run."""
    query = """
        SELECT body, queue, due_at, created_at, due_at <= workshed.now()
          FROM workshed.schedule
         ORDER BY due_at, number
    """
    return [
        EnqueuedJob(decode_message(body.encode(), queue), due_at, created_at, is_due)
        for body, queue, due_at, created_at, is_due in conn.execute(query)
    ]


def dequeue_job(
    conn: Connection, message_id: str | None = None, *, excluding: Collection[str] = ()
) -> dramatiq.Message[Any] | None:
    """Take the next due job whose id is not in `excluding`, or the job `message_id`, due or not."""
    query = """
        DELETE FROM workshed.schedule
         WHERE number = (
               SELECT number
                 FROM workshed.schedule
                WHERE CASE WHEN %(id)s::text IS NULL
                           THEN due_at <= workshed.now() AND message_id <> ALL (%(excluding)s)
                           ELSE message_id = %(id)s END
                ORDER BY due_at, number
                LIMIT 1)
        RETURNING body, queue
    """
    values = {"id": message_id, "excluding": list(excluding)}
    found = conn.execute(query, values).fetchone()
    return None if found is None else decode_message(found[0].encode(), found[1])


def to_enqueued(message: dramatiq.Message[Any]) -> EnqueuedJob:
    """Return a recorded message that was sent without a delay."""
    at = datetime.fromtimestamp(message.message_timestamp / 1000, UTC)
    return EnqueuedJob(message, due_at=at, sent_at=at, is_due=True)
