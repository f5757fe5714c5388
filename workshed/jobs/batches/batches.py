"""Jobs that belong together: a row for the batch, and one for each of its jobs.

A batch is complete once it is closed and none of its jobs is pending. Until then, and only until
then, jobs can be added to it: by anybody while it is open, by a pending job of it at any time.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, LiteralString

from workshed.db import Connection
from workshed.jobs.outbox.schedule import OutboxRow, Statement

Event = Literal["success", "complete", "death"]
End = Literal["succeeded", "discarded", "cancelled", "dead"]


# Made and filled on a connection of any kind


def open_statement(batch: str, description: str, callbacks: Mapping[Event, OutboxRow]) -> Statement:
    """Return what makes a batch, open, with what is sent at its events."""
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
    """Return what says why the job `adder`, or nobody's, cannot add to a batch; empty if it can."""
    query: LiteralString = "SELECT workshed.batch_refusal(%(batch)s::uuid, %(adder)s::text)"
    return Statement(query, {"batch": batch, "adder": adder})


def join_statement(batch: str, message_ids: Sequence[str]) -> Statement:
    """Return what makes stored messages jobs of a batch, to which they can be added."""
    query: LiteralString = """
        INSERT INTO workshed.batch_jobs (message_id, batch_id)
        SELECT id, %(batch)s::uuid FROM unnest(%(ids)s::text[]) AS id
    """
    return Statement(query, {"batch": batch, "ids": list(message_ids)})


def close_statement(batch: str) -> Statement:
    """Return what lets nobody add to a batch from now on but its own jobs; tells if it was open."""
    query: LiteralString = "SELECT workshed.close_batch(%(batch)s::uuid)::text"
    return Statement(query, {"batch": batch})


def cancel_statement(batch: str) -> Statement:
    """Return what lets no job of a batch start from now on; tells whether there is such a batch.

    One that runs is told to stop. Those that wait have rows until `cancel_some` has come to them.
    """
    query: LiteralString = "SELECT workshed.cancel_batch(%(batch)s::uuid)::text"
    return Statement(query, {"batch": batch})


# What becomes of its jobs


def end_job(conn: Connection, message_id: str, how: End) -> bool:
    """Note that a job has ended; send what follows. False where it had, or is of no batch."""
    found = conn.execute("SELECT workshed.end_batch_job(%s, %s)", (message_id, how)).fetchone()
    return found is not None and bool(found[0])
