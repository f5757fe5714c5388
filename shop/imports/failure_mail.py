"""End an import that failed as a whole, and notify its owner."""

from shop import compose, people
from shop.imports import imports
from workshed.contrib.mail import Draft
from workshed.db import Connection


def fail_import(conn: Connection, import_id: int, error: str) -> Draft | None:
    """End an import that has not made users yet; return the email that notifies its owner.

    `None` if it had ended, or its rows are being made users. Raises `RecordMissing`.
    """
    if not imports.mark_failed(conn, import_id, error):
        return None
    found = imports.get_import(conn, import_id)
    owner = people.lock_user(conn, found.owner_id)
    return compose.write_import_failed(owner, found.id, found.filename, error)
