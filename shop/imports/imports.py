"""Imports as stored; this is the only module that changes the state of one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal, LiteralString

from psycopg.errors import ForeignKeyViolation
from psycopg.rows import args_row, class_row

from shop.filenames import clean_filename
from shop.imports.csv_reader import CsvTable
from shop.imports.encoding import Encoding
from shop.imports.errors import AlreadyImportedError
from shop.imports.layout import DETECT_ALL, Layout
from shop.people.user_notifications import notify_user
from workshed import db
from workshed.db import Connection
from workshed.jobs import RecordMissing
from workshed.pruning import delete_old_rows

ImportState = Literal["pending", "processing", "completed", "failed"]

SELECT_IMPORTS: Final = """
    SELECT id, owner_id, filename, sha256, encoding, is_guess, delimiter, header, email_column,
           name_column, skipped, welcome, state, rows_read, queued_upto, total, succeeded, failed,
           error, created_at, ended_at
      FROM shop.imports
"""
SELECT_IMPORT: Final = SELECT_IMPORTS + " WHERE id = %s "


@dataclass(frozen=True, slots=True)
class Import:
    """A row of `shop.imports`."""

    id: int
    owner_id: int
    filename: str
    sha256: str
    encoding: str | None
    """As the owner specified it; once the file was read, the actual one."""
    is_guess: bool
    """Whether the encoding was guessed, and judged by the names in the file."""
    delimiter: str | None
    header: list[str] | None
    email_column: str | None
    name_column: str | None
    """One column, or a template of several, for example `{first_name} {last_name}`."""
    skipped: list[str] | None
    """The columns that are not read."""
    welcome: bool
    state: ImportState
    rows_read: int
    """Rows that are stored."""
    queued_upto: int
    """Rows for which jobs were sent."""
    total: int | None
    """Rows of the file; `None` until all of them were read."""
    succeeded: int
    failed: int
    error: str | None
    """Why it failed as a whole."""
    created_at: datetime
    ended_at: datetime | None

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.ended_at is not None

    @property
    def layout(self) -> Layout:
        """How it is to be read; a guessed encoding is guessed and judged again."""
        encoding = None if self.is_guess else self.encoding
        return Layout(encoding, self.email_column, self.name_column)

    @property
    def progress_count(self) -> int:
        """A number that grows with every progress."""
        return self.rows_read + self.queued_upto + self.succeeded + self.failed


@dataclass(frozen=True, slots=True)
class RowResults:
    """The results of rows that were open."""

    user_ids: list[int]
    """Ids of the new users."""
    failed: int

    def __add__(self, other: "RowResults") -> "RowResults":
        """Combine two results."""
        return RowResults(self.user_ids + other.user_ids, self.failed + other.failed)


@dataclass(frozen=True, slots=True)
class RowRange:
    """Consecutive rows that one job makes users of."""

    import_id: int
    first: int
    count: int

    @property
    def values(self) -> dict[str, int]:
        """The parameters of the SQL statements; `end` is exclusive."""
        return {"id": self.import_id, "first": self.first, "end": self.first + self.count}


def create(
    conn: Connection,
    owner_id: int,
    filename: str,
    sha256: str,
    *,
    layout: Layout = DETECT_ALL,
    welcome: bool = False,
    again: bool = False,
) -> int:
    """Store an import of a content that `blobs.keep` has stored; return the import's id.

    Raises `AlreadyImportedError` if the user has an import of the same content that did not fail,
    unless `again` is set, and `RecordMissing` if there is no such user.
    """
    query = """
        INSERT INTO shop.imports (
            owner_id, filename, sha256, encoding, email_column, name_column, welcome, again)
        VALUES (
            %(owner_id)s, %(filename)s, %(sha256)s, %(encoding)s, %(email_column)s,
            %(name_column)s, %(welcome)s, %(again)s)
            ON CONFLICT (owner_id, sha256) WHERE state <> 'failed' AND NOT again DO NOTHING
        RETURNING id
    """
    row = {
        "owner_id": owner_id,
        "filename": clean_filename(filename),
        "sha256": sha256,
        "encoding": layout.encoding,
        "email_column": layout.email,
        "name_column": layout.name,
        "welcome": welcome,
        "again": again,
    }
    in_the_way = """
        SELECT id, state, created_at FROM shop.imports
         WHERE owner_id = %(owner_id)s AND sha256 = %(sha256)s AND state <> 'failed' AND NOT again
    """
    while True:  # loops if the other import fails between the two statements
        try:
            with db.savepoint(conn):
                found = conn.execute(query, row).fetchone()
        except ForeignKeyViolation as err:
            if err.diag.constraint_name == "imports_owner_id_fkey":
                raise RecordMissing("user", owner_id) from None
            raise
        if found is not None:
            return int(found[0])
        if (other := conn.execute(in_the_way, row).fetchone()) is not None:
            raise AlreadyImportedError(*other)


def get_import(conn: Connection, import_id: int) -> Import:
    """Return an import; raises `RecordMissing` when there is none."""
    return _fetch_import(conn, SELECT_IMPORT, import_id)


def list_imports(conn: Connection, limit: int, *, before: int | None = None) -> list[Import]:
    """Return imports, the newest first; with `before`, only those with a smaller id."""
    query = """
         WHERE %(before)s::bigint IS NULL OR id < %(before)s
         ORDER BY id DESC
         LIMIT %(limit)s
    """
    with conn.cursor(row_factory=class_row(Import)) as cur:
        return cur.execute(SELECT_IMPORTS + query, {"before": before, "limit": limit}).fetchall()


def lock(conn: Connection, import_id: int) -> Import:
    """Lock an import until the transaction ends, and return it; raises `RecordMissing`."""
    return _fetch_import(conn, SELECT_IMPORT + "FOR NO KEY UPDATE", import_id)


def lock_against_deletion(conn: Connection, import_id: int) -> Import:
    """Return an import, locked against deletion until the transaction ends; raises `RecordMissing`.

    Call it before you lock rows of the import: otherwise a concurrent deletion, which locks the
    import and then its rows, would deadlock.
    """
    return _fetch_import(conn, SELECT_IMPORT + "FOR KEY SHARE", import_id)


def record_layout(conn: Connection, import_id: int, encoding: Encoding, table: CsvTable) -> None:
    """Store how the file of an import is read, for its owner and for the list of failed rows."""
    query = """
        UPDATE shop.imports
           SET encoding = %(encoding)s, is_guess = is_guess OR %(is_guess)s,
               delimiter = %(delimiter)s, header = %(header)s, email_column = %(email)s,
               name_column = %(name)s, skipped = %(skipped)s
         WHERE id = %(id)s AND state = 'pending'
    """
    values = {
        "id": import_id,
        "encoding": encoding.label,
        "is_guess": encoding.is_guess,
        "delimiter": table.delimiter,
        "header": _to_storable(table.header.names),
        "email": table.header.layout.email,
        "name": table.header.layout.name,
        "skipped": _to_storable(table.header.skipped),
    }
    conn.execute(query, values)


def mark_read(conn: Connection, import_id: int) -> None:
    """Record that the whole file was read; an import without rows is then complete."""
    query = """
        UPDATE shop.imports
           SET total = rows_read,
               state = CASE WHEN rows_read = 0 THEN 'completed' ELSE 'processing' END,
               ended_at = CASE WHEN rows_read = 0 THEN workshed.now() END
         WHERE id = %s AND state = 'pending'
        RETURNING id, state, owner_id, succeeded, failed
    """
    _notify_if_completed(conn, conn.execute(query, (import_id,)).fetchone())


def next_ranges(conn: Connection, import_id: int, size: int, most: int) -> list[RowRange]:
    """Return the next ranges to send jobs for, `size` rows each, at most `most` ranges.

    The caller sends the jobs in the same transaction, and repeats until none is returned.
    """
    found = lock(conn, import_id)
    if found.state != "processing":
        return []
    end = min(found.rows_read, found.queued_upto + size * most)
    parts = [
        RowRange(import_id, after + 1, min(size, end - after))
        for after in range(found.queued_upto, end, size)
    ]
    query = "UPDATE shop.imports SET queued_upto = %s WHERE id = %s"
    conn.execute(query, (end, import_id))
    return parts


def count_results(conn: Connection, import_id: int, ended: RowResults) -> None:
    """Count rows that have ended in this transaction; the last ones complete the import.

    Call it last, because it blocks the other jobs of this import until the transaction ends.
    """
    query = """
        UPDATE shop.imports
           SET succeeded = succeeded + %(succeeded)s,
               failed = failed + %(failed)s,
               state = CASE WHEN succeeded + failed + %(ended)s = total
                            THEN 'completed' ELSE state END,
               ended_at = CASE WHEN succeeded + failed + %(ended)s = total THEN workshed.now() END
         WHERE id = %(id)s AND state = 'processing'
        RETURNING id, state, owner_id, succeeded, failed
    """
    values = {
        "id": import_id,
        "succeeded": len(ended.user_ids),
        "failed": ended.failed,
        "ended": len(ended.user_ids) + ended.failed,
    }
    _notify_if_completed(conn, conn.execute(query, values).fetchone())


def mark_failed(conn: Connection, import_id: int, error: str) -> bool:
    """End an import that has not made users yet; return whether this call ended it."""
    query = """
        UPDATE shop.imports
           SET state = 'failed', error = %(error)s, ended_at = workshed.now(), rows_read = 0
         WHERE id = %(id)s AND state = 'pending'
        RETURNING owner_id
    """
    found = conn.execute(query, {"id": import_id, "error": error}).fetchone()
    if found is None:
        return False
    conn.execute("DELETE FROM shop.import_rows WHERE import_id = %s", (import_id,))
    _notify_owner(conn, found[0], "import_failed", {"import_id": import_id, "error": error})
    return True


def prune_imports(conn: Connection, older_than: timedelta, limit: int) -> int:
    """Delete imports that ended so long ago, with their rows, at most `limit`; return how many.

    The users that they made stay.
    """
    return delete_old_rows(conn, "shop.imports", "ended_at", older_than, limit)


def list_stalled(conn: Connection, older_than: timedelta) -> list[int]:
    """Return the ids of imports that began so long ago and have not ended."""
    query = """
        SELECT id FROM shop.imports
         WHERE ended_at IS NULL AND created_at < workshed.now() - %s
         ORDER BY id
    """
    with conn.cursor(row_factory=args_row(int)) as cur:
        return cur.execute(query, (older_than,)).fetchall()


def _notify_if_completed(conn: Connection, found: tuple[Any, ...] | None) -> None:
    if found is not None and found[1] == "completed":
        import_id, _, owner_id, succeeded, failed = found
        data = {"import_id": import_id, "succeeded": succeeded, "failed": failed}
        _notify_owner(conn, owner_id, "import_completed", data)


def _notify_owner(conn: Connection, owner_id: int, event: str, data: dict[str, object]) -> None:
    notify_user(conn, owner_id, event, data, key=f"{event}:{data['import_id']}")


def _fetch_import(conn: Connection, query: LiteralString, import_id: int) -> Import:
    with conn.cursor(row_factory=class_row(Import)) as cur:
        found = cur.execute(query, (import_id,)).fetchone()
    if found is None:
        raise RecordMissing("import", import_id)
    return found


def _to_storable(names: Sequence[str]) -> list[str]:
    return [name.replace("\0", "\ufffd") for name in names]
