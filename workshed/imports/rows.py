"""The rows of imports: stored as they are read, and made users of set by set."""

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg.rows import args_row

from workshed.db import Connection
from workshed.imports import stored
from workshed.imports.header import Header
from workshed.imports.judging import Landing, Problem
from workshed.imports.stored import Count, Import, Part


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of rows that were open."""

    users: list[int]
    """Ids of those who are new."""
    failed: int

    @property
    def count(self) -> Count:
        """Of them."""
        return Count(len(self.users), self.failed)

    def __add__(self, other: "Ended") -> "Ended":
        """Put both together."""
        return Ended(self.users + other.users, self.failed + other.failed)


NONE = Ended([], 0)


def land(conn: Connection, import_id: int, header: Header, rows: Sequence[Landing]) -> int | None:
    """Store rows that follow one another; return how many the import has, from the first on.

    Those it has already, from a run before or beside this one, are passed over. `None` when it is
    read no more. Raises `RecordMissing`.
    """
    found = stored.lock(conn, import_id)
    if found.state != "pending":
        return None
    fresh = [row for row in rows if row.number > found.landed]
    if not fresh:
        return found.landed
    query = """
        COPY product.import_rows (import_id, number, line, name, email, fields, problem, reason)
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
                    row.problem,
                    row.reason,
                )
            )
    query = "UPDATE product.imports SET landed = %s, header = %s WHERE id = %s"
    conn.execute(query, (fresh[-1].number, list(header.names), import_id))
    return fresh[-1].number


def work(conn: Connection, import_id: int, first: int, count: int) -> Ended:
    """Make users of those of `count` rows from `first` on that are open; return what came of them.

    None, before all of the file was read: it may still be refused. The transaction can go on whatever PostgreSQL refuses: the rows are tried in smaller sets, until
    the one that it does not take has failed alone.
    """
    if stored.find(conn, import_id).state != "processing":
        return NONE
    try:
        with conn.transaction():
            return _work(conn, import_id, first, count)
    except (psycopg.DataError, psycopg.IntegrityError) as err:
        if count > 1:
            half = count // 2
            ended = work(conn, import_id, first, half)
            return ended + work(conn, import_id, first + half, count - half)
        return end(conn, import_id, first, count, "refused", str(err).splitlines()[0])


def end(
    conn: Connection, import_id: int, first: int, count: int, problem: Problem, reason: str
) -> Ended:
    """Let those of `count` rows from `first` on that are open have failed; none, as with `work`."""
    if stored.find(conn, import_id).state != "processing":
        return NONE
    query = """
        UPDATE product.import_rows
           SET outcome = 'failed', problem = coalesce(problem, %(problem)s),
               reason = coalesce(reason, %(reason)s)
         WHERE import_id = %(id)s AND number >= %(first)s AND number < %(end)s
           AND outcome IS NULL
    """
    values = {
        "id": import_id,
        "first": first,
        "end": first + count,
        "problem": problem,
        "reason": reason,
    }
    return Ended([], conn.execute(query, values).rowcount)


def left(conn: Connection, found: Import, size: int, most: int) -> list[Part]:
    """Return where rows that were handed out are open, `size` rows each, at most so many."""
    query = """
        SELECT import_id, min(number), max(number) - min(number) + 1
          FROM product.import_rows
         WHERE import_id = %(id)s AND number <= %(handed_out)s AND outcome IS NULL
         GROUP BY import_id, (number - 1) / %(size)s
         ORDER BY 2
         LIMIT %(most)s
    """
    values = {"id": found.id, "handed_out": found.handed_out, "size": size, "most": most}
    with conn.cursor(row_factory=args_row(Part)) as cur:
        return cur.execute(query, values).fetchall()


def _work(conn: Connection, import_id: int, first: int, count: int) -> Ended:
    # A row is locked before it is looked at: of two copies of a job the later finds none open.
    # Users are inserted in the order of their addresses, as two imports may have the same.
    query = """
        WITH open AS MATERIALIZED (
            SELECT number, name, email, problem, reason
              FROM product.import_rows
             WHERE import_id = %(id)s AND number >= %(first)s AND number < %(end)s
               AND outcome IS NULL
             ORDER BY number
               FOR UPDATE
        ), judged AS MATERIALIZED (
            SELECT open.number, open.name, open.email, earlier.line,
                   coalesce(open.problem, earlier.problem) AS problem,
                   coalesce(open.reason, earlier.reason) AS reason
              FROM open
              LEFT JOIN LATERAL (
                   SELECT r.line, 'duplicate' AS problem,
                          format('line %%s has the same address', r.line) AS reason
                     FROM product.import_rows AS r
                    WHERE r.import_id = %(id)s AND r.email IS NOT NULL
                      AND lower(r.email) = lower(open.email) AND r.number < open.number
                    ORDER BY r.number
                    LIMIT 1
              ) AS earlier ON true
        ), new AS (
            INSERT INTO product.users (name, email, imported_from)
            SELECT name, email, %(id)s
              FROM judged
             WHERE problem IS NULL
             ORDER BY lower(email)
                ON CONFLICT (lower(email)) DO NOTHING
            RETURNING id, lower(email) AS address
        ), ended AS (
            UPDATE product.import_rows AS r
               SET outcome = CASE WHEN new.id IS NULL THEN 'failed' ELSE 'succeeded' END,
                   problem = CASE WHEN new.id IS NULL THEN coalesce(j.problem, 'taken') END,
                   reason = CASE WHEN new.id IS NULL
                                 THEN coalesce(j.reason, 'a user has this address') END,
                   user_id = new.id
              FROM judged AS j
              LEFT JOIN new ON j.problem IS NULL AND new.address = lower(j.email)
             WHERE r.import_id = %(id)s AND r.number = j.number
            RETURNING r.number, r.user_id
        )
        SELECT coalesce(array_remove(array_agg(user_id ORDER BY number), NULL), '{}'),
               count(*) - count(user_id)
          FROM ended
    """
    values = {"id": import_id, "first": first, "end": first + count}
    with conn.cursor(row_factory=args_row(Ended)) as cur:
        return next(cur.execute(query, values))
