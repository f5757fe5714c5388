"""The failed rows of an import, as a CSV file that can be corrected and imported."""

import csv
from dataclasses import dataclass
from typing import TextIO

from psycopg.rows import class_row

from shop.imports import imports
from shop.imports.header import FAILURE_COLUMNS, Header
from shop.imports.layout import Layout
from shop.imports.validation import Problem
from shop.spreadsheet_safety import escape_formula
from workshed.db import Connection

FETCH_ROWS = 1_000
DEFAULT_COLUMNS = ("name", "email")
"""The columns of an import whose file was not read yet."""


@dataclass(frozen=True, slots=True)
class RowFailure:
    """A failed row."""

    line: int
    problem: Problem
    reason: str
    cells: list[str]
    """The cells of the row, or the name and the address that were read from it."""


def list_failures(conn: Connection, import_id: int, limit: int) -> list[RowFailure]:
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


def write_failures(conn: Connection, import_id: int, out: TextIO) -> int:
    """Write line, reason and cells of each failed row; return how many.

    `out` must be opened with `newline=""`. Cells that a spreadsheet would take for a formula get an
    apostrophe in front, which is removed when the list is imported. At most a thousand rows are in
    memory at a time. Raises `RecordMissing`.
    """
    found = imports.get_import(conn, import_id)
    if found.header:
        names = found.header
        header = Header.parse(names, 1, Layout(email=found.email_column, name=found.name_column))
    else:  # the requested columns are ignored, because they need not be called name and email
        names = list(DEFAULT_COLUMNS)
        header = Header.parse(names, 1)
    writer = csv.writer(out)
    writer.writerow([*FAILURE_COLUMNS, *(names[at] for at in header.original_columns)])
    query = """
        SELECT line, reason, name, email, COALESCE(fields, cells)
          FROM shop.import_rows
         WHERE import_id = %s AND outcome = 'failed'
         ORDER BY number
    """
    written = 0
    with conn.cursor(name="failures") as cur:
        cur.itersize = FETCH_ROWS
        for line, reason, name, email, fields in cur.execute(query, (import_id,)):
            cells = (
                _person_cells(header, name, email)
                if fields is None
                else _original_cells(header, fields)
            )
            writer.writerow([line, *map(escape_formula, [reason, *cells])])
            written += 1
    return written


def _person_cells(header: Header, name: str, email: str) -> list[str]:
    """Return a person as the cells of a file that has no other columns."""
    (name_at,) = header.name.indexes
    person = {name_at: name, header.email_at: email}
    return [person[at] for at in header.original_columns]


def _original_cells(header: Header, fields: list[str]) -> list[str]:
    """Return a row without the cells that the list added; unchanged if it is too wide."""
    width = len(header.names)
    if any(field.strip() for field in fields[width:]):  # their columns are not known
        return fields
    padded = [*fields, *[""] * (width - len(fields))]
    return [padded[at] for at in header.original_columns]
