"""Delete old rows, a few at a time."""

from datetime import timedelta
from typing import LiteralString

from workshed.database.postgres import Connection

NO_AGE = timedelta()
WITHOUT_JOB: LiteralString = """
    NOT EXISTS (SELECT FROM workshed.schedule WHERE message_id = t.message_id)
    AND NOT EXISTS (SELECT FROM workshed.dead WHERE message_id = t.message_id)
"""
"""The condition of rows about a job that neither waits nor is dead."""


def delete_old_rows(
    conn: Connection,
    table: LiteralString,
    column: LiteralString,
    older_than: timedelta,
    limit: int,
    condition: LiteralString = "true",
    *,
    order: LiteralString | None = None,
) -> int:
    """Delete at most `limit` rows whose time in `column` is so long ago; return how many.

    The oldest go first, or the first by `order`. `condition` is SQL over the table as `t`. Rows
    that another transaction has locked are left for the next time.
    """
    # An array is made once. PostgreSQL may run `IN (SELECT … LIMIT … SKIP LOCKED)` again for each
    # row, and then deletes more. `ctid` cannot change while its row is locked.
    query = f"""
        DELETE FROM {table}
         WHERE ctid = ANY (ARRAY(
               SELECT ctid FROM {table} AS t
                WHERE {column} < workshed.now() - %(older_than)s AND {condition}
                ORDER BY {order or column}
                LIMIT %(limit)s
                  FOR UPDATE SKIP LOCKED))
    """  # noqa: S608 -- literals of ours
    return conn.execute(query, {"older_than": older_than, "limit": limit}).rowcount
