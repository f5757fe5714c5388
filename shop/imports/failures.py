"""The failed rows of an import, as a CSV file that can be corrected and imported."""

import csv
from dataclasses import dataclass
from typing import TextIO

from psycopg.rows import class_row

from shop.imports import stored
from shop.imports.header import PASSED_OVER, Header
from shop.imports.judging import Problem
from shop.imports.layout import Layout
from shop.spreadsheet_safety import shielded
from workshed.db import Connection

AT_A_TIME = 1_000
PLAIN = ("name", "email")
"""The columns of an import whose file was not read yet."""


@dataclass(frozen=True, slots=True)
class RowFailure:
    """A failed row."""

    line: int
    problem: Problem
    reason: str
    cells: list[str]
    """The cells of the row, or the name and the address that were read from it."""


def first(conn: Connection, import_id: int, limit: int) -> list[RowFailure]:
    """Return the first failed rows, in the order of the file."""
    query = """
        SELECT line, problem, reason, COALESCE(fields, cells, ARRAY[name, email]) AS cells
          FROM shop.import_rows
         WHERE import_id = %s AND outcome = 'failed'
         ORDER BY number
         LIMIT %s
    """
    with conn.cursor(row_factory=class_row(RowFailure)) as cur:
        return cur.execute(query, (import_id, limit)).fetchall()


def write(conn: Connection, import_id: int, out: TextIO) -> int:
    """Write line, reason and cells of each failed row; return how many.

    `out` must be opened with `newline=""`. Cells that a spreadsheet would take for a formula get an
    apostrophe in front, which is removed when the list is imported. At most a thousand rows are in
    memory at a time. Raises `RecordMissing`.
    """
    found = stored.find(conn, import_id)
    if found.header:
        names = found.header
        header = Header.of(names, 1, Layout(email=found.email_column, name=found.name_column))
    else:  # the requested columns are ignored, because they need not be called name and email
        names = list(PLAIN)
        header = Header.of(names, 1)
    writer = csv.writer(out)
    writer.writerow([*PASSED_OVER, *(names[at] for at in header.original)])
    query = """
        SELECT line, reason, name, email, COALESCE(fields, cells)
          FROM shop.import_rows
         WHERE import_id = %s AND outcome = 'failed'
         ORDER BY number
    """
    written = 0
    with conn.cursor(name="failures") as cur:
        cur.itersize = AT_A_TIME
        for line, reason, name, email, fields in cur.execute(query, (import_id,)):
            cells = _person(header, name, email) if fields is None else _cells(header, fields)
            writer.writerow([line, *map(shielded, [reason, *cells])])
            written += 1
    return written


def _person(header: Header, name: str, email: str) -> list[str]:
    """Return a person as the cells of a file that has no other columns."""
    (name_at,) = header.name.at
    person = {name_at: name, header.email_at: email}
    return [person[at] for at in header.original]


def _cells(header: Header, fields: list[str]) -> list[str]:
    """Return a row without the cells that the list added; unchanged if it is too wide."""
    width = len(header.names)
    if any(field.strip() for field in fields[width:]):  # their columns are not known
        return fields
    padded = [*fields, *[""] * (width - len(fields))]
    return [padded[at] for at in header.original]
