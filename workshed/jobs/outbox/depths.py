"""How many jobs of each queue are in the schedule, where workers take them from it."""

from workshed.database.postgres import Connection
from workshed.value_class import value_class


@value_class
class TableDepth:
    """The rows of a queue."""

    due: int
    """Not claimed by a worker."""
    claimed: int
    """They run in a worker, or wait in one."""
    later: int


def count_rows_by_queue(conn: Connection) -> dict[str, TableDepth]:
    """Count the rows of each queue that has any."""
    query = """
        SELECT queue,
               count(*) FILTER (WHERE claimed_by IS NULL AND due_at <= workshed.now()),
               count(*) FILTER (WHERE claimed_by IS NOT NULL),
               count(*) FILTER (WHERE claimed_by IS NULL AND due_at > workshed.now())
          FROM workshed.schedule
         WHERE sent_at IS NULL
         GROUP BY queue
    """
    return {name: TableDepth(*counts) for name, *counts in conn.execute(query)}


def count_due(conn: Connection, queue: str) -> int:
    """Count the rows of a queue that a worker could claim now."""
    query = """
        SELECT count(*)
          FROM workshed.schedule
         WHERE queue = %s AND claimed_by IS NULL AND sent_at IS NULL
           AND due_at <= workshed.now()
    """
    found = conn.execute(query, (queue,)).fetchone()
    return 0 if found is None else int(found[0])


def delete_due(conn: Connection, queue: str, limit: int) -> list[str]:
    """Delete rows that a worker could claim now, and return their messages.

    Those with the lowest priority first, because the index has them in this order.
    """
    query = """
        DELETE FROM workshed.schedule
         WHERE ctid = ANY (ARRAY(
               SELECT ctid
                 FROM workshed.schedule
                WHERE queue = %s AND claimed_by IS NULL AND sent_at IS NULL
                  AND due_at <= workshed.now()
                ORDER BY priority, due_at
                LIMIT %s
                  FOR UPDATE SKIP LOCKED))
        RETURNING body
    """
    return [body for (body,) in conn.execute(query, (queue, limit))]
