"""Check the storage: a content can be written, read back and deleted."""

import hashlib
import os
import secrets
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from workshed.console.doctor.environment import unreadable
from workshed.console.doctor.run import Check
from workshed.console.doctor.surroundings import DoctorContext
from workshed.console.operations.finding import Finding, failed, ok
from workshed.contrib.storage import ContentDamagedError, Storage, place
from workshed.contrib.storage.local import LocalStorage
from workshed.contrib.storage.patience import StorageTimeouts
from workshed.errors import SettingsError, WorkshedError

WAIT = timedelta(seconds=3)
"""Longest wait for one reply; shorter than a check's deadline, so that the server is named."""
PATIENCE = StorageTimeouts(connect=WAIT, answer=WAIT, retries=timedelta(), whole=WAIT)
PROBE_BYTES = 64
"""Random bytes that no other content has, so the check deletes only its own."""
ANOTHER = (
    "export WORKSHED_STORAGE_URL=file:/a/folder, or s3://key:secret@bucket?region=…&endpoint=…"
)


def check(here: DoctorContext) -> Iterator[Finding]:
    """Test the storage with a probe content; a missing folder is not created."""
    try:
        storage = place(here.settings.storage_url.get_secret_value(), PATIENCE)
    except SettingsError as err:
        yield unreadable("storage_url", err)
        return
    if isinstance(storage, LocalStorage) and not storage.root.exists():
        yield folder(storage.root)
        return
    try:
        probe(storage)
    except (WorkshedError, OSError) as err:
        yield failed(str(err), ANOTHER)
    else:
        yield ok(f"contents are kept in {storage}")


def folder(path: Path) -> Finding:
    """Check that the folder can be created."""
    there = next(one for one in path.parents if one.exists())
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return ok(f"contents will be kept in {path}, which the first one creates")
    return failed(f"contents cannot be kept in {path}", f"chown $USER {there}")


def probe(storage: Storage) -> None:
    """Store a content, read it back, and delete it."""
    content = secrets.token_bytes(PROBE_BYTES)
    sha256 = hashlib.sha256(content).hexdigest()
    with storage.draft() as draft:
        draft.write(content)
        storage.keep(draft, sha256)
    try:
        with storage.open(sha256) as file:
            found = file.read()
    finally:
        storage.delete(sha256)
    if found != content:
        raise ContentDamagedError(str(storage), sha256, hashlib.sha256(found).hexdigest())


CHECKS = (Check("storage", check, reads=("storage_url",)),)
