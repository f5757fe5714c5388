"""Check the storage: a content can be written, read back and deleted."""

import hashlib
import os
import secrets
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from workshed.console.doctor.context import DoctorContext
from workshed.console.doctor.environment import report_unreadable
from workshed.console.doctor.run import Check
from workshed.console.operations.finding import Finding, failed, ok
from workshed.contrib.storage import ContentDamagedError, Storage, create_storage
from workshed.contrib.storage.local import LocalStorage
from workshed.contrib.storage.timeouts import StorageTimeouts
from workshed.errors import SettingsError, WorkshedError

REPLY_TIMEOUT = timedelta(seconds=3)
"""Longest wait for one reply; shorter than a check's deadline, so that the server is named."""
PROBE_TIMEOUTS = StorageTimeouts(
    connect=REPLY_TIMEOUT, answer=REPLY_TIMEOUT, retries=timedelta(), whole=REPLY_TIMEOUT
)
PROBE_BYTES = 64
"""Random bytes that no other content has, so the check deletes only its own."""
OTHER_STORAGE = (
    "export WORKSHED_STORAGE_URL=file:/a/folder, or s3://key:secret@bucket?region=…&endpoint=…"
)


def check_storage(here: DoctorContext) -> Iterator[Finding]:
    """Test the storage with a probe content; a missing folder is not created."""
    try:
        storage = create_storage(here.settings.storage_url.get_secret_value(), PROBE_TIMEOUTS)
    except SettingsError as err:
        yield report_unreadable("storage_url", err)
        return
    if isinstance(storage, LocalStorage) and not storage.root.exists():
        yield check_folder(storage.root)
        return
    try:
        probe_storage(storage)
    except (WorkshedError, OSError) as err:
        yield failed(str(err), OTHER_STORAGE)
    else:
        yield ok(f"contents are kept in {storage}")


def check_folder(path: Path) -> Finding:
    """Check that the folder can be created."""
    there = next(one for one in path.parents if one.exists())
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return ok(f"contents will be kept in {path}, which the first one creates")
    return failed(f"contents cannot be kept in {path}", f"chown $USER {there}")


def probe_storage(storage: Storage) -> None:
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


CHECKS = (Check("storage", check_storage, reads=("storage_url",)),)
