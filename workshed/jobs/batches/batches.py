"""Jobs that belong together: a row for the batch, and one for each of its jobs.

A batch is complete once it is closed and none of its jobs is pending. Only until then can jobs be
added to it: by any caller while it is open, and by its own pending jobs at any time.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, LiteralString

from workshed.database.postgres import Connection, Statement
from workshed.jobs.outbox.schedule import OutboxRow

BatchEvent = Literal["success", "complete", "death"]
BatchJobEnd = Literal["succeeded", "discarded", "cancelled", "dead"]


# Statements to create and fill a batch, for connections of any type


def open_statement(
    batch: str, description: str, callbacks: Mapping[BatchEvent, OutboxRow]
) -> Statement:
    """Return the statement that creates an open batch with its callbacks."""
    query: LiteralString = """
        WITH made AS (
            INSERT INTO workshed.batches (id, description)
            VALUES (%(batch)s::uuid, %(description)s)
            RETURNING id
        )
        INSERT INTO workshed.batch_callbacks (batch_id, event, message_id, actor, body)
        SELECT made.id, c.*
          FROM made,
               unnest(%(events)s::text[], %(ids)s::text[], %(actors)s::text[], %(bodies)s::text[])
                   AS c
    """
    rows = callbacks.values()
    values = {
        "batch": batch,
        "description": description,
        "events": list(callbacks),
        "ids": [row.message_id for row in rows],
        "actors": [row.actor for row in rows],
        "bodies": [row.body for row in rows],
    }
    return Statement(query, values)


def refusal_statement(batch: str, adder: str | None) -> Statement:
    """Return a query for why the job `adder` (`None`: no job) cannot add; empty if it can."""
    query: LiteralString = "SELECT workshed.batch_refusal(%(batch)s::uuid, %(adder)s::text)"
    return Statement(query, {"batch": batch, "adder": adder})


def join_statement(batch: str, message_ids: Sequence[str]) -> Statement:
    """Return the statement that adds stored messages to a batch that accepts them."""
    query: LiteralString = """
        INSERT INTO workshed.batch_jobs (message_id, batch_id)
        SELECT id, %(batch)s::uuid FROM unnest(%(ids)s::text[]) AS id
    """
    return Statement(query, {"batch": batch, "ids": list(message_ids)})


def close_statement(batch: str) -> Statement:
    """Return the statement that closes a batch, except to its own jobs; returns if it was open."""
    query: LiteralString = "SELECT workshed.close_batch(%(batch)s::uuid)::text"
    return Statement(query, {"batch": batch})


def cancel_statement(batch: str) -> Statement:
    """Return the statement that cancels a batch; it returns whether there was one to cancel.

    Running jobs are asked to stop. Waiting jobs keep their rows until `cancel_waiting_jobs` deletes
    them.
    """
    query: LiteralString = "SELECT workshed.cancel_batch(%(batch)s::uuid)::text"
    return Statement(query, {"batch": batch})


# Outcomes of its jobs


def end_batch_job(conn: Connection, message_id: str, how: BatchJobEnd) -> bool:
    """Record that a job has ended, and send due callbacks; False if it had, or has no batch."""
    found = conn.execute(*end_statement(message_id, how)).fetchone()
    return found is not None and bool(found[0])


def end_statement(message_id: str, how: BatchJobEnd) -> Statement:
    """Return the statement of `end_batch_job`."""
    query: LiteralString = "SELECT workshed.end_batch_job(%(message_id)s, %(how)s)"
    return Statement(query, {"message_id": message_id, "how": how})
