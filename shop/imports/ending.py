"""End an import that failed as a whole, and notify its owner."""

from shop import compose, people
from shop.imports import stored
from workshed.contrib.mail import Draft
from workshed.db import Connection


def fail(conn: Connection, import_id: int, error: str) -> Draft | None:
    """End an import that has not made users yet; return the email that notifies its owner.

    `None` if it had ended, or its rows are being made users. Raises `RecordMissing`.
    """
    if not stored.fail(conn, import_id, error):
        return None
    found = stored.find(conn, import_id)
    owner = people.lock(conn, found.owner_id)
    return compose.import_failed(owner, found.id, found.filename, error)
