"""Read the file of an import, and store its rows batch by batch."""

import time
from collections.abc import Iterable, Iterator
from datetime import timedelta

from shop.imports import imports, rows
from shop.imports.csv_reader import CsvRow
from shop.imports.imports import Import
from shop.imports.source import ImportSource, open_source
from shop.imports.validation import validate_row
from workshed import db
from workshed.contrib.storage import storage
from workshed.jobs import Snooze
from workshed.jobs.context import checkpoint

BATCH = 5_000
"""Rows that are stored in one transaction, and so the most that a crash costs."""
BATCH_CHARACTERS = 4_000_000
LONGEST_S = 300.0
"""After this another run reads the rest, so that no deploy has to wait for a long file."""


def read_file(import_id: int) -> None:
    """Store all rows of an import's file that are not stored yet, then mark it as read.

    Each batch commits separately, and after a crash the next run continues there. Raises
    `ImportRefusedError`, `RecordMissing`, and `Snooze` after 5 minutes.
    """
    with db.transaction() as conn:
        found = imports.get_import(conn, import_id)
    if found.state == "pending":
        with storage().open(found.sha256) as file, open_source(file, found.layout) as source:
            _store_rows(source, found)


def _store_rows(source: ImportSource, found: Import) -> None:
    """Skip the rows that are stored: splitting lines is a tenth of the work."""
    until = time.monotonic() + LONGEST_S
    table = source.table
    with db.transaction() as conn:
        imports.record_layout(conn, found.id, source.encoding, table)
    rows_read = found.rows_read
    for batch in _batch_rows(source.rows()):
        if batch[-1].number <= rows_read:
            continue
        checkpoint()
        fresh = [validate_row(row, table.header) for row in batch if row.number > rows_read]
        with db.transaction() as conn:
            now = rows.insert_rows(conn, found.id, fresh)
        if now is None:  # it has ended, or another run has read all of it
            return
        rows_read = now
        if time.monotonic() > until:
            raise Snooze(timedelta(), f"{rows_read} rows of import {found.id} are read")
    with db.transaction() as conn:
        imports.mark_read(conn, found.id)


def _batch_rows(rows: Iterable[CsvRow]) -> Iterator[list[CsvRow]]:
    """Yield rows in groups that fit into memory."""
    batch: list[CsvRow] = []
    characters = 0
    for row in rows:
        batch.append(row)
        characters += sum(map(len, row.fields))
        if len(batch) >= BATCH or characters > BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
