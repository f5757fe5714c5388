"""The problems of an import's failed rows, by kind."""

from dataclasses import dataclass

from psycopg.rows import class_row

from shop.imports.validation import Problem
from workshed.db import Connection


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """A kind of problem, with the first row that has it."""

    problem: Problem
    rows: int
    line: int
    reason: str


def list_problems(conn: Connection, import_id: int) -> list[ProblemKind]:
    """Return the kinds of problems of failed rows, the most frequent first."""
    query = """
        SELECT kind.problem, kind.rows, first.line, first.reason
          FROM (SELECT problem, count(*) AS rows, min(number) AS number
                  FROM shop.import_rows
                 WHERE import_id = %(id)s AND outcome = 'failed'
                 GROUP BY problem) AS kind
          JOIN shop.import_rows AS first
            ON first.import_id = %(id)s AND first.number = kind.number
         ORDER BY kind.rows DESC, kind.number
    """
    with conn.cursor(row_factory=class_row(ProblemKind)) as cur:
        return cur.execute(query, {"id": import_id}).fetchall()
