"""The rows of an import that failed, as a CSV that can be corrected and handed in."""

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
"""The columns of an import that was not read yet."""


@dataclass(frozen=True, slots=True)
class RowFailure:
    """A row that has failed."""

    line: int
    problem: Problem
    reason: str
    cells: list[str]
    """What stood there, or the name and the address that were read from it."""


def first(conn: Connection, import_id: int, limit: int) -> list[RowFailure]:
    """Return the first rows that have failed, in the order of the file."""
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
    """Write line, reason and what stood there of each row that has failed; return how many.

    `out` is opened with `newline=""`. What a spreadsheet would take for a formula begins with an
    apostrophe, which is taken away when the list is handed in. In memory are a thousand at a time.
    Raises `RecordMissing`.
    """
    found = stored.find(conn, import_id)
    if found.header:
        names = found.header
        header = Header.of(names, 1, Layout(email=found.email_column, name=found.name_column))
    else:  # the columns that were asked for are none of these two
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
    """Put a person into the columns of a file that has no others."""
    (name_at,) = header.name.at
    person = {name_at: name, header.email_at: email}
    return [person[at] for at in header.original]


def _cells(header: Header, fields: list[str]) -> list[str]:
    """Return the cells of a row without those that the list has added; as it is if it is wider."""
    width = len(header.names)
    if any(field.strip() for field in fields[width:]):  # their columns are not known
        return fields
    padded = [*fields, *[""] * (width - len(fields))]
    return [padded[at] for at in header.original]
