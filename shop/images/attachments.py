"""Attachments: the files that users uploaded, and their current contents."""

from dataclasses import dataclass
from datetime import timedelta
from typing import LiteralString

from psycopg.errors import ForeignKeyViolation
from psycopg.rows import args_row, class_row

from shop.filenames import clean_filename
from shop.images.options import Options
from shop.people.user_notifications import notify_user
from workshed import db
from workshed.db import Connection
from workshed.jobs import RecordMissing, Snooze


@dataclass(frozen=True, slots=True)
class Original:
    """The content of an attachment at the time when it was read."""

    attachment_id: int
    user_id: int
    filename: str
    sha256: str


def create_attachment(conn: Connection, user_id: int, filename: str, sha256: str) -> int:
    """Store a user's attachment with a content that `blobs.keep` has stored; return its id.

    A file name that cannot be stored or shown is changed into one that can. Raises `RecordMissing`
    if there is no such user.
    """
    query = """
        INSERT INTO shop.attachments (user_id, filename, sha256)
        VALUES (%s, %s, %s)
        RETURNING id
    """
    try:
        with db.savepoint(conn), conn.cursor(row_factory=args_row(int)) as cur:
            return next(cur.execute(query, (user_id, clean_filename(filename), sha256)))
    except ForeignKeyViolation as err:
        if err.diag.constraint_name == "attachments_user_id_fkey":
            raise RecordMissing("user", user_id) from None
        raise


def replace_content(
    conn: Connection, attachment_id: int, filename: str, sha256: str
) -> list[Options]:
    """Replace the content of an attachment; return the options of the old content's variants.

    Raises `RecordMissing`.
    """
    before = lock(conn, attachment_id)
    query = """
        UPDATE shop.attachments
           SET filename = %(filename)s, sha256 = %(sha256)s, replaced_at = workshed.now(),
               refusal = NULL, refused_at = NULL
         WHERE id = %(id)s
    """
    conn.execute(
        query, {"id": attachment_id, "filename": clean_filename(filename), "sha256": sha256}
    )
    query = """
        SELECT DISTINCT box_width, box_height, quality, format
          FROM shop.image_variants
         WHERE original = %s
    """
    with conn.cursor(row_factory=args_row(Options)) as cur:
        return cur.execute(query, (before.sha256,)).fetchall()


def get_original(conn: Connection, attachment_id: int) -> Original:
    """Return the content of an attachment; raises `RecordMissing`."""
    query = """
        SELECT id AS attachment_id, user_id, filename, sha256
          FROM shop.attachments
         WHERE id = %s
    """
    return _fetch_original(conn, query, attachment_id)


def lock(conn: Connection, attachment_id: int) -> Original:
    """Lock an attachment until the transaction ends, return its content; raises `RecordMissing`."""
    query = """
        SELECT id AS attachment_id, user_id, filename, sha256
          FROM shop.attachments
         WHERE id = %s
           FOR NO KEY UPDATE
    """
    return _fetch_original(conn, query, attachment_id)


def lock_unchanged(conn: Connection, original: Original) -> None:
    """Lock an attachment that still has the given content, until the transaction ends.

    Raises `RecordMissing`, and `Snooze` if its content was replaced in the meantime, so that the
    job runs again with the new content.
    """
    if lock(conn, original.attachment_id).sha256 != original.sha256:
        again = f"attachment {original.attachment_id} was replaced meanwhile"
        raise Snooze(timedelta(), again)


def record_refusal(conn: Connection, original: Original, reason: str) -> None:
    """Store why no image can be made of an attachment, and notify its user, once.

    Raises what `hold` raises, and then stores nothing.
    """
    lock_unchanged(conn, original)
    query = """
        UPDATE shop.attachments
           SET refusal = %(reason)s, refused_at = workshed.now()
         WHERE id = %(id)s AND refusal IS DISTINCT FROM %(reason)s
    """
    conn.execute(query, {"id": original.attachment_id, "reason": reason})
    notify_user(
        conn,
        original.user_id,
        "image_refused",
        {"attachment_id": original.attachment_id, "reason": reason},
        key=f"image_refused:{original.attachment_id}:{original.sha256}",
    )


def _fetch_original(conn: Connection, query: LiteralString, attachment_id: int) -> Original:
    with conn.cursor(row_factory=class_row(Original)) as cur:
        found = cur.execute(query, (attachment_id,)).fetchone()
    if found is None:
        raise RecordMissing("attachment", attachment_id)
    return found
