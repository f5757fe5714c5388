"""The rows of imports: stored as they are read, and made users batch by batch."""

from collections.abc import Sequence
from dataclasses import replace

import psycopg
from psycopg.rows import args_row

from shop.imports import imports
from shop.imports.imports import Import, RowRange, RowResults
from shop.imports.validation import ParsedRow, Problem
from workshed.db import Connection

NO_RESULTS = RowResults([], 0)


def insert_rows(conn: Connection, import_id: int, rows: Sequence[ParsedRow]) -> int | None:
    """Store consecutive rows; return how many rows of the file are stored.

    Rows that an earlier or a concurrent run has stored are skipped. `None` if the import is not
    being read any more. Raises `RecordMissing`.
    """
    found = imports.lock(conn, import_id)
    if found.state != "pending":
        return None
    fresh = [row for row in rows if row.number > found.rows_read]
    if not fresh:
        return found.rows_read
    query = """
        COPY shop.import_rows (
            import_id, number, line, name, email, fields, cells, problem, reason)
        FROM STDIN
    """
    with conn.cursor() as cur, cur.copy(query) as copy:
        for row in fresh:
            copy.write_row(
                (
                    import_id,
                    row.number,
                    row.line,
                    row.name,
                    row.email,
                    row.fields,
                    row.cells,
                    row.problem,
                    row.reason,
                )
            )
    query = "UPDATE shop.imports SET rows_read = %s WHERE id = %s"
    conn.execute(query, (fresh[-1].number, import_id))
    return fresh[-1].number


def create_users(conn: Connection, part: RowRange) -> RowResults:
    """Make users of the open rows in a range; return their results.

    Does nothing before the whole file was read, because it may still be refused. The transaction
    stays usable if PostgreSQL refuses a row: the rows are then tried in smaller sets, until the
    refused one fails alone.
    """
    if imports.lock_against_deletion(conn, part.import_id).state != "processing":
        return NO_RESULTS
    try:
        with conn.transaction():
            return _create_users(conn, part.values)
    except (psycopg.DataError, psycopg.IntegrityError) as err:
        if part.count > 1:
            half = part.count // 2
            ended = create_users(conn, replace(part, count=half))
            rest = replace(part, first=part.first + half, count=part.count - half)
            return ended + create_users(conn, rest)
        return fail_rows(conn, part, "refused", str(err).splitlines()[0])


def fail_rows(conn: Connection, part: RowRange, problem: Problem, reason: str) -> RowResults:
    """Mark the open rows in a range as failed; does nothing when `work` would not."""
    if imports.lock_against_deletion(conn, part.import_id).state != "processing":
        return NO_RESULTS
    return RowResults([], _mark_failed(conn, part.values, problem, reason))


def list_open_ranges(conn: Connection, found: Import, size: int, most: int) -> list[RowRange]:
    """Return ranges with open rows among those handed out, `size` rows each, at most `most`."""
    query = """
        SELECT import_id, min(number), max(number) - min(number) + 1
          FROM shop.import_rows
         WHERE import_id = %(id)s AND number <= %(queued_upto)s AND outcome IS NULL
         GROUP BY import_id, (number - 1) / %(size)s
         ORDER BY 2
         LIMIT %(most)s
    """
    values = {"id": found.id, "queued_upto": found.queued_upto, "size": size, "most": most}
    with conn.cursor(row_factory=args_row(RowRange)) as cur:
        return cur.execute(query, values).fetchall()


# Each statement reads one range of rows, and one index for each row: the planner has no statistics
# of rows that were just stored, and one statement for everything took a hundred times as long.


def _create_users(conn: Connection, part: dict[str, int]) -> RowResults:
    _lock_rows(conn, part)
    failed = _fail_invalid(conn, part) + _fail_duplicates(conn, part)
    _insert_users(conn, part)
    users = _mark_succeeded(conn, part)
    return RowResults(users, failed + _mark_failed(conn, part, "taken", "a user has this address"))


def _lock_rows(conn: Connection, part: dict[str, int]) -> None:
    """Lock the open rows, so that a second copy of the job finds none."""
    query = """
        SELECT FROM shop.import_rows
         WHERE import_id = %(id)s AND number >= %(first)s AND number < %(end)s
           AND outcome IS NULL
         ORDER BY number
           FOR UPDATE
    """
    conn.execute(query, part)


def _fail_invalid(conn: Connection, part: dict[str, int]) -> int:
    query = """
        UPDATE shop.import_rows
           SET outcome = 'failed'
         WHERE import_id = %(id)s AND number >= %(first)s AND number < %(end)s
           AND outcome IS NULL AND problem IS NOT NULL
    """
    return conn.execute(query, part).rowcount


def _fail_duplicates(conn: Connection, part: dict[str, int]) -> int:
    """Fail rows whose address an earlier row has, whichever of the rows runs first."""
    query = """
        UPDATE shop.import_rows AS r
           SET outcome = 'failed',
               problem = 'duplicate',
               reason = (
                   SELECT format('line %%s has the same address', e.line)
                     FROM shop.import_rows AS e
                    WHERE e.import_id = %(id)s AND e.email IS NOT NULL
                      AND lower(e.email) = lower(r.email) AND e.number < r.number
                    ORDER BY lower(e.email), e.number
                    LIMIT 1)
         WHERE r.import_id = %(id)s AND r.number >= %(first)s AND r.number < %(end)s
           AND r.outcome IS NULL
           AND EXISTS (
               SELECT FROM shop.import_rows AS e
                WHERE e.import_id = %(id)s AND e.email IS NOT NULL
                  AND lower(e.email) = lower(r.email) AND e.number < r.number)
    """
    return conn.execute(query, part).rowcount


def _insert_users(conn: Connection, part: dict[str, int]) -> None:
    """Store users ordered by address, so that imports with the same addresses do not deadlock."""
    query = """
        INSERT INTO shop.users (name, email, imported_from)
        SELECT name, email, import_id
          FROM shop.import_rows
         WHERE import_id = %(id)s AND number >= %(first)s AND number < %(end)s
           AND outcome IS NULL
         ORDER BY lower(email)
            ON CONFLICT (lower(email)) DO NOTHING
    """
    conn.execute(query, part)


def _mark_succeeded(conn: Connection, part: dict[str, int]) -> list[int]:
    """Mark the rows that have become users; return the user ids."""
    query = """
        UPDATE shop.import_rows AS r
           SET outcome = 'succeeded', user_id = u.id, cells = NULL
          FROM shop.users AS u
         WHERE r.import_id = %(id)s AND r.number >= %(first)s AND r.number < %(end)s
           AND r.outcome IS NULL
           AND lower(u.email) = lower(r.email) AND u.imported_from = %(id)s
        RETURNING u.id
    """
    with conn.cursor(row_factory=args_row(int)) as cur:
        return cur.execute(query, part).fetchall()


def _mark_failed(conn: Connection, part: dict[str, int], problem: Problem, reason: str) -> int:
    """Mark the rows that are still open as failed."""
    query = """
        UPDATE shop.import_rows
           SET outcome = 'failed', problem = coalesce(problem, %(problem)s),
               reason = coalesce(reason, %(reason)s)
         WHERE import_id = %(id)s AND number >= %(first)s AND number < %(end)s
           AND outcome IS NULL
    """
    return conn.execute(query, {**part, "problem": problem, "reason": reason}).rowcount
