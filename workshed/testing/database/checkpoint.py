"""The state from which a test runs a job repeatedly."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import LiteralString, Self

from psycopg import sql

from workshed.db import Connection
from workshed.testing.database import scratch
from workshed.testing.database.catalog import CatalogTable
from workshed.testing.database.clock import KitClock


class Checkpoint:
    """The rows, sequences, files and time of one moment, which can be restored.

    The copies of rows are temporary tables of `conn`.
    """

    def __init__(
        self, conn: Connection, tables: Sequence[CatalogTable], clock: KitClock, folder: Path
    ) -> None:
        """Stop the clock, and copy everything."""
        self._conn = conn
        self._tables = tables
        self._clock = clock
        self._folder = folder
        self._at = clock.stop()
        self._files = tempfile.TemporaryDirectory(prefix="workshed-start-")
        shutil.copytree(folder, self._files.name, dirs_exist_ok=True)
        self._sequences = conn.execute("""
            SELECT format('%I.%I', schemaname, sequencename)::regclass::oid,
                   COALESCE(last_value, start_value), last_value IS NOT NULL
              FROM pg_sequences
        """).fetchall()
        self._copies = [
            (table, sql.Identifier(f"start_{number}"))
            for number, table in enumerate(self._nonempty_tables())
        ]
        self._for_each("CREATE TEMP TABLE {1} AS TABLE {0}")

    def __enter__(self) -> Self:
        """Return the checkpoint."""
        return self

    def __exit__(self, *_: object) -> None:
        """Drop the copies; the clock stays stopped at the checkpoint's time."""
        self._clock.stop_at(self._at)
        self._for_each("DROP TABLE IF EXISTS {1}")
        self._files.cleanup()

    def restore(self) -> None:
        """Restore everything to the checkpoint."""
        for path in self._folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(self._files.name, self._folder, dirs_exist_ok=True)
        quiet = sql.SQL("ALTER TABLE {} {} TRIGGER USER")
        triggered = [table.identifier for table in self._tables if table.has_triggers]
        with self._conn.transaction():
            for name in triggered:
                self._conn.execute(quiet.format(name, sql.SQL("DISABLE")))
            self._conn.execute(scratch.delete_all([table.identifier for table in self._tables]))
            if self._copies:
                self._conn.execute(self._fill_statement())
            for name in triggered:
                self._conn.execute(quiet.format(name, sql.SQL("ENABLE")))
            with self._conn.cursor() as cur:
                cur.executemany("SELECT setval(%s::oid::regclass, %s, %s)", self._sequences)
        self._clock.stop_at(self._at)

    def _fill_statement(self) -> sql.Composed:
        """Return one statement that fills all tables: foreign keys are checked at its end."""
        insert = sql.SQL(
            "{} AS (INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM pg_temp.{})"
        )
        inserts = []
        for number, (table, copy) in enumerate(self._copies):
            names = [sql.Identifier(c.name) for c in table.columns if not c.is_generated]
            columns = sql.SQL(", ").join(names)
            step = sql.Identifier(f"t{number}")
            inserts.append(insert.format(step, table.identifier, columns, columns, copy))
        return sql.SQL("WITH {} SELECT").format(sql.SQL(", ").join(inserts))

    def _nonempty_tables(self) -> list[CatalogTable]:
        exists = sql.SQL("EXISTS (SELECT FROM {})")
        each = sql.SQL(", ").join(exists.format(table.identifier) for table in self._tables)
        found = self._conn.execute(sql.SQL("SELECT {}").format(each)).fetchone() or ()
        return [table for table, is_full in zip(self._tables, found, strict=True) if is_full]

    def _for_each(self, statement: LiteralString) -> None:
        for table, copy in self._copies:
            self._conn.execute(sql.SQL(statement).format(table.identifier, copy))
