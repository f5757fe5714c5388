"""Contents with a row: kept while another row refers to them, and then swept.

The row is written before the content and deleted after it, under a lock. A content without a row
would never be deleted, so `import_existing` gives it one.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import islice
from typing import BinaryIO

from psycopg import sql
from psycopg.errors import ForeignKeyViolation
from psycopg.rows import args_row
from psycopg.sql import Composable

from workshed import db
from workshed.contrib.storage import storage
from workshed.database.postgres import Connection
from workshed.errors import PermanentError
from workshed.value_class import value_class

IMPORTED_AT_ONCE = 1_000


@value_class
class Blob:
    """A stored content."""

    sha256: str
    size_bytes: int


class BlobTooLargeError(PermanentError):
    """A content is larger than its caller allows; nothing of it was kept."""

    def __init__(self, size_bytes: int, most_bytes: int) -> None:
        super().__init__(f"it has {size_bytes} bytes; at most {most_bytes} are accepted")
        self.size_bytes = size_bytes
        self.most_bytes = most_bytes


def keep(draft: BinaryIO, *, most_bytes: int | None = None) -> Blob:
    """Keep a whole draft of `storage()`; on return, first its row and then its content are on disk.

    Waits for a sweep that is deleting the same content. Store a row that refers to it soon, before
    a sweep considers it old. Raises `BlobTooLargeError`, `StorageError`, and `RuntimeError` in the
    transaction of an actor with `once=True`.
    """
    _refuse_joined("keep")
    # Seek to the end first, which drops the read-ahead buffer: a child may have written since.
    size_bytes = draft.seek(0, os.SEEK_END)
    draft.seek(0)
    if most_bytes is not None and size_bytes > most_bytes:
        raise BlobTooLargeError(size_bytes, most_bytes)
    digest = hashlib.file_digest(draft, "sha256")  # type: ignore[arg-type]  # files have `readinto`
    blob = Blob(digest.hexdigest(), size_bytes)
    with db.transaction() as conn:
        _store_row(conn, blob)
    # Even if the row existed: a sweep that did not commit may have deleted its content.
    storage().keep(draft, blob.sha256)
    return blob


def delete_unreferenced(older_than: timedelta, limit: int) -> int:
    """Delete at most `limit` old contents to which no row refers; return how many.

    A row refers to a content by a foreign key to `workshed_storage.blobs`; this needs the right to
    read those columns. Each content is deleted in a transaction of its own, so that storing one
    again waits for no other. Raises `StorageError`, and `RuntimeError` like `keep`.
    """
    _refuse_joined("delete_unreferenced")
    with db.transaction() as conn:
        unused = _unused_condition(conn)
        found = _list_unused(conn, older_than, limit, unused)
    return sum(_delete(sha256, older_than, unused) for sha256 in found)


def import_existing(
    *, only_count: bool = False, step: Callable[[int], None] = lambda _: None
) -> int:
    """Create rows for contents that have none; return how many. `step` receives each batch's count.

    Such contents are left when PostgreSQL is restored from an older backup than theirs. No row
    refers to them, so they are swept after their grace like all others, under the same lock. This
    never runs by itself: if two databases share a place, each has contents that the other does not
    know. Raises `StorageError`.
    """
    found, total = storage().list_contents(), 0
    while batch := list(islice(found, IMPORTED_AT_ONCE)):
        with db.transaction() as conn:
            count = _count_unknown(conn, batch) if only_count else _import(conn, batch)
        total += count
        step(count)
    return total


def _store_row(conn: Connection, blob: Blob) -> None:
    query = """
        INSERT INTO workshed_storage.blobs (sha256, size_bytes)
        VALUES (%s, %s)
            ON CONFLICT (sha256) DO UPDATE SET stored_at = workshed.now()
    """
    conn.execute(query, (blob.sha256, blob.size_bytes))


def _import(conn: Connection, contents: Sequence[tuple[str, int]]) -> int:
    query = """
        INSERT INTO workshed_storage.blobs (sha256, size_bytes)
        SELECT * FROM unnest(%s::text[], %s::bigint[]) AS found (sha256, size_bytes)
         ORDER BY 1
            ON CONFLICT (sha256) DO NOTHING
    """
    names, sizes = zip(*contents, strict=True)
    return conn.execute(query, (list(names), list(sizes))).rowcount


def _count_unknown(conn: Connection, contents: Sequence[tuple[str, int]]) -> int:
    query = """
        SELECT count(*) FROM unnest(%s::text[]) AS found (sha256)
         WHERE NOT EXISTS (SELECT FROM workshed_storage.blobs b WHERE b.sha256 = found.sha256)
    """
    ((count,),) = conn.execute(query, ([name for name, _ in contents],)).fetchall()
    return int(count)


def _list_unused(
    conn: Connection, older_than: timedelta, limit: int, unused: Composable
) -> list[str]:
    """Return unused contents in one query, because the oldest contents are usually in use."""
    query = sql.SQL("""
        SELECT b.sha256
          FROM workshed_storage.blobs b
         WHERE b.stored_at < workshed.now() - %(older_than)s
           {unused}
         ORDER BY b.stored_at
         LIMIT %(limit)s
    """)
    with conn.cursor(row_factory=args_row(str)) as cur:
        values = {"older_than": older_than, "limit": limit}
        return cur.execute(query.format(unused=unused), values).fetchall()


def _unused_condition(conn: Connection) -> Composable:
    """Return the SQL conditions for a content `b` to which no row of any table refers."""
    query = """
        SELECT n.nspname, c.relname, a.attname
          FROM pg_constraint AS k
          JOIN pg_class AS c ON c.oid = k.conrelid
          JOIN pg_namespace AS n ON n.oid = c.relnamespace
          JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
         WHERE k.contype = 'f' AND k.confrelid = 'workshed_storage.blobs'::regclass
           AND k.conparentid = 0
         ORDER BY 1, 2, 3
    """
    one = "AND NOT EXISTS (SELECT FROM {}.{} r WHERE r.{} = b.sha256)"
    references = conn.execute(query).fetchall()
    return sql.SQL("\n           ").join(
        sql.SQL(one).format(*map(sql.Identifier, names)) for names in references
    )


def _delete(sha256: str, older_than: timedelta, unused: Composable) -> bool:
    """Delete a row and then its content; a transaction that stores it meanwhile waits.

    A transaction that refers to it meanwhile waits, too, and then fails. References are checked
    again once the row is locked, because not every foreign key refuses the deletion immediately.
    """
    lock = """
        SELECT FROM workshed_storage.blobs
         WHERE sha256 = %s AND stored_at < workshed.now() - %s
           FOR UPDATE SKIP LOCKED
    """
    delete = sql.SQL("DELETE FROM workshed_storage.blobs b WHERE b.sha256 = %s {}").format(unused)
    try:
        with db.transaction() as conn:
            conn.execute("SET CONSTRAINTS ALL IMMEDIATE")
            if not conn.execute(lock, (sha256, older_than)).rowcount:
                return False
            if not conn.execute(delete, (sha256,)).rowcount:
                return False
            storage().delete(sha256)
    except ForeignKeyViolation:
        return False
    return True


def _refuse_joined(what: str) -> None:
    """Refuse to run in a joined transaction, because what is written here must commit by itself."""
    if db.joined_connection() is not None:
        raise RuntimeError(
            f"blobs.{what}() commits by itself, so it cannot be called in the transaction of an "
            "actor with once=True; leave out once=True, and make the writes that refer to the "
            "content idempotent"
        )
