"""Deduplication: the highest generation of each message whose outcome is stored."""

from datetime import timedelta
from typing import LiteralString

from workshed.database.postgres import Connection, Statement
from workshed.pruning import WITHOUT_JOB, delete_old_rows


def is_completed(conn: Connection, message_id: str, generation: int) -> bool:
    """Return whether this generation, or a later one, has its outcome already."""
    query = "SELECT generation >= %s FROM workshed.completed_generations WHERE message_id = %s"
    found = conn.execute(query, (generation, message_id)).fetchone()
    return found is not None and bool(found[0])


def complete_generation(conn: Connection, message_id: str, generation: int) -> bool:
    """Claim the outcome of this generation; False if a copy has written one already.

    Holds the row's lock until the transaction ends, so if two copies end at once, the second waits
    here for the first to commit. Also deletes the recorded start, if any, and the message's rows in
    the schedule: those kept until now, and those that a sender or relay has not deleted yet.
    """
    found = conn.execute(*completion_statement(message_id, generation)).fetchone()
    return found is not None and bool(found[0])


def completion_statement(message_id: str, generation: int) -> Statement:
    """Return the statement of `complete_generation`, which returns 1 or 0."""
    query: LiteralString = """
        WITH completed AS (
            INSERT INTO workshed.completed_generations AS c (message_id, generation)
            VALUES (%(message_id)s, %(generation)s)
            ON CONFLICT (message_id) DO UPDATE
               SET generation = EXCLUDED.generation, completed_at = workshed.now()
             WHERE c.generation < EXCLUDED.generation
            RETURNING message_id
        ), started AS (
            DELETE FROM workshed.redelivered_starts AS s
             USING completed
             WHERE s.message_id = completed.message_id
        ), kept AS (
            DELETE FROM workshed.schedule AS s
             USING completed
             WHERE s.message_id = completed.message_id AND s.generation <= %(generation)s
        )
        SELECT count(*) FROM completed
    """
    return Statement(query, {"message_id": message_id, "generation": generation})


def prune_generations(conn: Connection, older_than: timedelta, limit: int) -> int:
    """Delete records that no copy can ask for any more, at most `limit`; return how many."""
    return delete_old_rows(
        conn,
        "workshed.completed_generations",
        "completed_at",
        older_than,
        limit,
        WITHOUT_JOB,
    )
