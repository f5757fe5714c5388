"""The files of mails, and how their contents are read."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from workshed.contrib.storage import storage
from workshed.database.postgres import Connection, class_row


@dataclass(frozen=True, slots=True)
class File:
    """A file of a mail; its content is one of `blobs`, which many mails can share."""

    filename: str
    media_type: str
    sha256: str
    content_id: str | None = None
    """The id by which the HTML shows it, as `cid:…`; `None` for an attachment."""


def attach_files(conn: Connection, email_id: int, files: Sequence[File]) -> None:
    """Add files to a mail, unless it has some: its text was written with those.

    Runs in the transaction that stores the mail; a second transaction that stores it waits.
    """
    if not files or list_files(conn, email_id):
        return
    query = """
        INSERT INTO workshed_mail.email_files
               (email_id, position, filename, media_type, content_id, sha256)
        VALUES (%(email_id)s, %(position)s, %(filename)s, %(media_type)s, %(content_id)s,
                %(sha256)s)
    """
    rows = [
        {"email_id": email_id, "position": position, **asdict(file)}
        for position, file in enumerate(files, 1)
    ]
    with conn.cursor() as cur:
        cur.executemany(query, rows)


def list_files(conn: Connection, email_id: int) -> tuple[File, ...]:
    """Return the files of a mail, in their order."""
    query = """
        SELECT filename, media_type, sha256, content_id
          FROM workshed_mail.email_files
         WHERE email_id = %s
         ORDER BY position
    """
    with conn.cursor(row_factory=class_row(File)) as cur:
        return tuple(cur.execute(query, (email_id,)))


def read_file(file: File) -> bytes:
    """Return the content of a file; raises `StorageError` and `ContentMissingError`."""
    with storage().open(file.sha256) as content:
        return content.read()
