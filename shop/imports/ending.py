"""End an import that failed as a whole, and tell its owner."""

from shop import compose, people
from shop.imports import stored
from workshed.contrib.mail import Draft
from workshed.db import Connection


def fail(conn: Connection, import_id: int, error: str) -> Draft | None:
    """End an import none of whose rows has become a user; return the mail that tells its owner.

    `None` where it had ended, or its rows are being made users of. Raises `RecordMissing`.
    """
    if not stored.fail(conn, import_id, error):
        return None
    found = stored.find(conn, import_id)
    owner = people.lock(conn, found.owner_id)
    return compose.import_failed(owner, found.id, found.filename, error)
