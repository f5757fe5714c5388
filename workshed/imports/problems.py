"""What is wrong with the rows of an import, kind by kind."""

from dataclasses import dataclass

from psycopg.rows import class_row

from workshed.db import Connection
from workshed.imports.judging import Problem


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem, with the first row that has it."""

    problem: Problem
    rows: int
    line: int
    reason: str


def problems(conn: Connection, import_id: int) -> list[Kind]:
    """Return the kinds of problems of rows that have failed, the most frequent first."""
    query = """
        SELECT problem, count(*) AS rows, min(line) AS line,
               (array_agg(reason ORDER BY number))[1] AS reason
          FROM product.import_rows
         WHERE import_id = %s AND outcome = 'failed'
         GROUP BY problem
         ORDER BY 2 DESC, 3
    """
    with conn.cursor(row_factory=class_row(Kind)) as cur:
        return cur.execute(query, (import_id,)).fetchall()
