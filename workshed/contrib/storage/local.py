"""Contents in a folder of this machine, or of a file system that several machines share."""

import hashlib
import os
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO, Self
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from workshed.contrib.storage.errors import ContentDamagedError, ContentMissingError, StorageError
from workshed.contrib.storage.object_keys import build_key, parse_key
from workshed.errors import SettingsError

DRAFTS = ".drafts"
FILE_MODE = 0o644
"""Mode of contents, before the umask: a web server of another user may read them."""


class LocalStorage:
    """A file per content; a draft is moved to its name once it is complete and on disk."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._drafts = self.root / DRAFTS

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Parse `file:PATH`, relative to the working directory, or `file:///PATH`, percent-encoded.

        Raises `SettingsError`.
        """
        path = url.removeprefix("file:")
        if path.startswith("//"):
            parts = urlsplit(url)
            if parts.netloc:
                raise SettingsError("WORKSHED_STORAGE_URL: names a host; write file:///PATH")
            path = unquote(parts.path)
        if not path or "\0" in path:
            raise SettingsError("WORKSHED_STORAGE_URL: names no folder; write file:PATH")
        return cls(Path(path))

    @contextmanager
    def draft(self) -> Generator[BinaryIO]:
        """Open a file next to the contents; if its process dies, `prune_drafts` deletes it."""
        path = self._drafts / uuid4().hex
        with self._translate_errors():
            _create_folder(self._drafts)
            file = open(path, "x+b", opener=_opener)  # noqa: SIM115 -- closed below
        try:
            yield file
        finally:
            path.unlink(missing_ok=True)
            with suppress(OSError):  # a buffered write may fail, but the draft is gone anyway
                file.close()

    def keep(self, draft: BinaryIO, sha256: str) -> None:
        """Move a draft to its name between two syncs: a power cut leaves all of it or nothing."""
        path = self._path(sha256)
        with self._translate_errors():
            draft.flush()
            os.fsync(draft.fileno())
            if _get_size(path) != os.fstat(draft.fileno()).st_size:
                _create_folder(path.parent)
                Path(draft.name).replace(path)
            # Even if the content existed: its writer may not have synced the folders yet.
            for folder in (path.parent, path.parent.parent, self.root):
                _sync_folder(folder)

    @contextmanager
    def open(self, sha256: str) -> Generator[BinaryIO]:
        """Open the file for reading; raises `ContentDamagedError` if it does not match its name."""
        with self._open_file(sha256) as file:
            with self._translate_errors():
                found = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # files have `readinto`
            if found != sha256:
                raise ContentDamagedError(str(self), sha256, found)
            file.seek(0)
            yield file

    def delete(self, sha256: str) -> None:
        """Delete the file; the deletion is on disk when this returns."""
        path = self._path(sha256)
        with self._translate_errors(), suppress(FileNotFoundError):
            path.unlink(missing_ok=True)
            # Otherwise the file may reappear after a power cut, without a row.
            _sync_folder(path.parent)

    def list_contents(self) -> Iterator[tuple[str, int]]:
        """Yield the contents of all folders."""
        with self._translate_errors():
            for path in self.root.glob("??/??/*"):
                found = parse_key(path.relative_to(self.root).as_posix())
                size = _get_size(path)
                if found is not None and size is not None:
                    yield found, size

    def prune_drafts(self, older_than: timedelta) -> int:
        """Delete the drafts that were not written to for so long."""
        before = time.time() - older_than.total_seconds()
        with self._translate_errors():
            return sum(_delete_stale(path, before) for path in self._drafts.glob("*"))

    def __str__(self) -> str:
        """Return its name for messages."""
        return f"file:{self.root}"

    def _path(self, sha256: str) -> Path:
        return self.root / build_key(sha256)

    def _open_file(self, sha256: str) -> BinaryIO:
        path = self._path(sha256)
        with self._translate_errors():
            try:
                return path.open("rb")
            except FileNotFoundError:
                raise ContentMissingError(str(self), sha256) from None

    @contextmanager
    def _translate_errors(self) -> Generator[None]:
        """Convert errors of the folder to `StorageError`, with the system's text and a remedy."""
        try:
            yield
        except OSError as err:
            raise StorageError(
                str(self),
                f"{err.strerror} ({err.filename or self.root}); it must be a folder that this user "
                "may write, on a disk with room",
            ) from err


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags, FILE_MODE)


def _create_folder(folder: Path) -> None:
    """Create a folder and its parents, so that they survive a power cut."""
    if not folder.is_dir():
        _create_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    """Write a folder's directory entries to disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _get_size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _delete_stale(path: Path, before: float) -> bool:
    with suppress(FileNotFoundError):  # its process ended just now
        if path.stat().st_mtime < before:
            path.unlink()
            return True
    return False
