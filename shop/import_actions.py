"""Start the import of a file, and follow its progress."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from actors import start_import
from shop import imports, people
from shop.imports import Import
from shop.people import User
from workshed import db
from workshed.console.errors import NotFoundError
from workshed.contrib.storage import blobs, storage
from workshed.contrib.storage.blobs import Blob
from workshed.db import Connection
from workshed.jobs import RecordMissing

POLL_S = 0.2


def require_owner(conn: Connection, words: str) -> User:
    """Return the user with an id or an address; raises `NotFoundError`."""
    try:
        found = people.get_user(conn, int(words)) if words.isdecimal() else None
    except RecordMissing:
        found = None
    found = found or people.find_by_address(conn, words)
    if found is None:
        raise NotFoundError(f"no user {words!r}; --owner takes the address of a user, or an id")
    return found


def import_file(path: Path, owner_id: int, *, welcome: bool, again: bool) -> int:
    """Store a file's content and send its job; return the import's id.

    Raises `OSError`, `StorageError` and what `start_import` raises.
    """
    with path.open("rb") as file:
        return import_stream(file, path.name, owner_id, welcome=welcome, again=again)


def import_stream(
    file: BinaryIO, filename: str, owner_id: int, *, welcome: bool, again: bool
) -> int:
    """Do the same as `hand_in` with an open file, from its current position."""
    blob = store_file(file)
    with db.transaction() as conn:
        return start_import(conn, owner_id, filename, blob, welcome=welcome, again=again)


def store_file(file: BinaryIO) -> Blob:
    """Store the content of an open file, from its current position; raises `StorageError`."""
    with storage().draft() as draft:
        shutil.copyfileobj(file, draft)
        return blobs.keep(draft)


def follow_import(conn: Connection, import_id: int) -> Iterator[Import]:
    """Yield the current state of an import every 0.2 s until it ends; raises `RecordMissing`."""
    while True:
        found = imports.get_import(conn, import_id)
        yield found
        if found.is_over:
            return
        time.sleep(POLL_S)
