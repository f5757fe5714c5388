"""Store jobs of RabbitMQ's queues as rows again, for workers that take them from PostgreSQL."""

from collections.abc import Sequence
from datetime import timedelta
from typing import LiteralString

from workshed.database.postgres import Connection
from workshed.jobs.outbox.schedule import OutboxRow, insert_many_statement


def return_jobs(conn: Connection, rows: Sequence[OutboxRow]) -> None:
    """Store messages that RabbitMQ delivered, due now; each generation at most once in `rows`.

    Mark them all as possible duplicates: until its delivery is acknowledged, RabbitMQ has a copy.
    A row that is there already is due now, instead of waiting for its relay or sender, which could
    delete it: what RabbitMQ confirmed to them is about to leave its queue. A row that a worker has
    claimed stays, because that worker runs the job.
    """
    ordered = sorted(rows, key=lambda row: (row.message_id, row.generation))  # as all lock them
    statement, values = insert_many_statement(ordered, timedelta(), None)
    query: LiteralString = f"""
        {statement}
        ON CONFLICT (message_id, generation) DO UPDATE
           SET claimed_by = NULL, claimed_at = NULL, sent_at = NULL, seen_empty_at = NULL,
               reason = EXCLUDED.reason, possible_duplicate = true, due_at = EXCLUDED.due_at
         WHERE NOT EXISTS (SELECT FROM workshed.workers WHERE workers.id = schedule.claimed_by)
    """  # noqa: S608 -- a literal of ours
    conn.execute(query, values)


def release_kept(conn: Connection, queue: str) -> int:
    """Make the rows due that are kept until their outcome; return how many.

    For a queue that is empty and has no consumers: RabbitMQ has lost these jobs, or a worker that
    is about to end still runs them. They are marked as possible duplicates.
    """
    query = """
        UPDATE workshed.schedule
           SET sent_at = NULL, seen_empty_at = NULL, possible_duplicate = true,
               due_at = workshed.now()
         WHERE queue = %s AND sent_at IS NOT NULL
    """
    return conn.execute(query, (queue,)).rowcount
