"""Deduplication: the highest generation of each message whose outcome is stored."""

from collections.abc import Sequence
from datetime import timedelta
from typing import LiteralString

from workshed.database.postgres import Connection, Statement
from workshed.pruning import WITHOUT_JOB, delete_old_rows
from workshed.value_class import value_class

GROUP_LOCK_WAIT = timedelta(milliseconds=20)
"""How long the end of several jobs waits for a row. Shorter than PostgreSQL's `deadlock_timeout`,
so that no other transaction is aborted because these jobs hold each other's locks."""
DELETIONS: LiteralString = """
        started AS (
            DELETE FROM workshed.redelivered_starts AS s
             USING completed
             WHERE s.message_id = completed.message_id
        ), kept AS (
            DELETE FROM workshed.schedule AS s
             USING completed
             WHERE s.message_id = completed.message_id AND s.generation <= completed.generation
        )
"""
"""Deletes what is left of a generation that has ended: its start, and its rows in the schedule."""


@value_class
class GenerationEnd:
    """What the end of a generation has found."""

    is_first: bool
    """No copy had written an outcome; otherwise nothing was written."""
    released_keys: int = 0
    """How many unique keys it had."""


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
    query: LiteralString = f"""
        WITH completed AS (
            INSERT INTO workshed.completed_generations AS c (message_id, generation)
            VALUES (%(message_id)s, %(generation)s)
            ON CONFLICT (message_id) DO UPDATE
               SET generation = EXCLUDED.generation, completed_at = workshed.now()
             WHERE c.generation < EXCLUDED.generation
            RETURNING message_id, generation
        ), {DELETIONS}
        SELECT count(*) FROM completed
    """  # noqa: S608 -- a literal of ours
    return Statement(query, {"message_id": message_id, "generation": generation})


def end_generations(conn: Connection, runs: Sequence[tuple[str, int]]) -> list[GenerationEnd]:
    """Do as `complete_generation` for each message and generation, and release its unique keys.

    One statement, in a transaction of its own: it writes all or nothing. Raises
    `psycopg.errors.LockNotAvailable` if it would have to wait for longer than `GROUP_LOCK_WAIT`,
    for a copy that ends or a sender that asks for one of the keys.
    """
    query = f"""
        WITH patience AS MATERIALIZED (
            SELECT set_config('lock_timeout', %(wait_ms)s, true)
        ), ended AS MATERIALIZED (
            SELECT e.message_id, e.generation
              FROM patience,
                   unnest(%(ids)s::text[], %(generations)s::int[]) AS e (message_id, generation)
             -- Always true. PostgreSQL expects one row then, uses indexes, and keeps the plan.
             WHERE e.message_id = e.message_id || ''
             ORDER BY e.message_id  -- all processes lock in one order
        ), completed AS (
            INSERT INTO workshed.completed_generations AS c (message_id, generation)
            SELECT message_id, generation FROM ended
            ON CONFLICT (message_id) DO UPDATE
               SET generation = EXCLUDED.generation, completed_at = workshed.now()
             WHERE c.generation < EXCLUDED.generation
            RETURNING message_id, generation
        ), {DELETIONS}, released AS (
            DELETE FROM workshed.unique_locks AS l
             USING completed
             WHERE l.message_id = completed.message_id AND l.generation <= completed.generation
            RETURNING l.message_id
        )
        SELECT message_id, (SELECT count(*) FROM released AS r WHERE r.message_id = c.message_id)
          FROM completed AS c
    """  # noqa: S608 -- a literal of ours
    values = {
        "wait_ms": f"{GROUP_LOCK_WAIT // timedelta(milliseconds=1)}ms",
        "ids": [message_id for message_id, _ in runs],
        "generations": [generation for _, generation in runs],
    }
    released: dict[str, int] = dict(conn.execute(query, values).fetchall())
    return [GenerationEnd(one in released, released.get(one, 0)) for one, _ in runs]


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
