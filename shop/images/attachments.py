"""What people have uploaded, and what each attachment holds now."""

from dataclasses import dataclass
from datetime import timedelta
from typing import LiteralString

from psycopg.errors import ForeignKeyViolation
from psycopg.rows import args_row, class_row

from shop.filenames import named
from shop.images.options import Options
from shop.people.notifying import notify
from workshed import db
from workshed.db import Connection
from workshed.jobs import RecordMissing, Snooze


@dataclass(frozen=True, slots=True)
class Original:
    """What an attachment held when it was looked at."""

    attachment_id: int
    user_id: int
    filename: str
    sha256: str


def attach(conn: Connection, user_id: int, filename: str, sha256: str) -> int:
    """Store that a person has uploaded a content, which `blobs.keep` has; return the id.

    A name that could not be stored or shown is made one that can. Raises `RecordMissing` when there
    is no such person.
    """
    query = """
        INSERT INTO shop.attachments (user_id, filename, sha256)
        VALUES (%s, %s, %s)
        RETURNING id
    """
    try:
        with db.savepoint(conn), conn.cursor(row_factory=args_row(int)) as cur:
            return next(cur.execute(query, (user_id, named(filename), sha256)))
    except ForeignKeyViolation as err:
        if err.diag.constraint_name == "attachments_user_id_fkey":
            raise RecordMissing("user", user_id) from None
        raise


def replace(conn: Connection, attachment_id: int, filename: str, sha256: str) -> list[Options]:
    """Let an attachment hold another content; return what was made of the one before.

    Raises `RecordMissing`.
    """
    before = lock(conn, attachment_id)
    query = """
        UPDATE shop.attachments
           SET filename = %(filename)s, sha256 = %(sha256)s, replaced_at = workshed.now(),
               refusal = NULL, refused_at = NULL
         WHERE id = %(id)s
    """
    conn.execute(query, {"id": attachment_id, "filename": named(filename), "sha256": sha256})
    query = """
        SELECT DISTINCT box_width, box_height, quality, format
          FROM shop.image_variants
         WHERE original = %s
    """
    with conn.cursor(row_factory=args_row(Options)) as cur:
        return cur.execute(query, (before.sha256,)).fetchall()


def find(conn: Connection, attachment_id: int) -> Original:
    """Return what an attachment holds; raises `RecordMissing` when there is none."""
    query = """
        SELECT id AS attachment_id, user_id, filename, sha256
          FROM shop.attachments
         WHERE id = %s
    """
    return _original(conn, query, attachment_id)


def lock(conn: Connection, attachment_id: int) -> Original:
    """Return what an attachment holds until the transaction ends; raises `RecordMissing`."""
    query = """
        SELECT id AS attachment_id, user_id, filename, sha256
          FROM shop.attachments
         WHERE id = %s
           FOR NO KEY UPDATE
    """
    return _original(conn, query, attachment_id)


def hold(conn: Connection, original: Original) -> None:
    """Keep an attachment as it was looked at until the transaction ends.

    Raises `Snooze` when it was replaced meanwhile, so that the job looks at what it holds now, and
    `RecordMissing`.
    """
    if lock(conn, original.attachment_id).sha256 != original.sha256:
        again = f"attachment {original.attachment_id} was replaced meanwhile"
        raise Snooze(timedelta(), again)


def refuse(conn: Connection, original: Original, reason: str) -> None:
    """Store why no image can be made of an attachment, and tell its user, once.

    Raises as `hold` does, and stores nothing then.
    """
    hold(conn, original)
    query = """
        UPDATE shop.attachments
           SET refusal = %(reason)s, refused_at = workshed.now()
         WHERE id = %(id)s AND refusal IS DISTINCT FROM %(reason)s
    """
    conn.execute(query, {"id": original.attachment_id, "reason": reason})
    notify(
        conn,
        original.user_id,
        "image_refused",
        {"attachment_id": original.attachment_id, "reason": reason},
        key=f"image_refused:{original.attachment_id}:{original.sha256}",
    )


def _original(conn: Connection, query: LiteralString, attachment_id: int) -> Original:
    with conn.cursor(row_factory=class_row(Original)) as cur:
        found = cur.execute(query, (attachment_id,)).fetchone()
    if found is None:
        raise RecordMissing("attachment", attachment_id)
    return found
