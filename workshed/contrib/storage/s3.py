"""Contents in a bucket of S3 or a compatible server; needs the extra `workshed[s3]`."""

import hashlib
import os
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import BinaryIO

from workshed.extras import require_extra

with require_extra("s3"):
    import obstore
    from obstore.store import S3Store

from workshed.contrib.storage.errors import ContentDamagedError, ContentMissingError, StorageError
from workshed.contrib.storage.object_keys import build_key, parse_key
from workshed.contrib.storage.s3_address import S3Address
from workshed.contrib.storage.s3_client import create_client, is_forked
from workshed.contrib.storage.s3_errors import translate_errors
from workshed.contrib.storage.timeouts import StorageTimeouts

PART_BYTES = 5 << 20
"""Size of a part of a multipart upload; the smallest that S3 accepts."""
PARTS_AT_ONCE = 2
"""Each part takes memory, and more parts leave each less bandwidth."""
LISTED_AT_ONCE = 1_000
PIECE_BYTES = 1 << 20
"""Size of a received piece in memory."""
NO_BUCKET = "there is no such bucket, or this is not S3; create it, or correct the endpoint"
FORKED = (
    "this process was forked from one that had used S3, whose client does not survive a fork; use "
    "S3 in the child only"
)


class S3Storage:
    """An object per content; S3 shows an object only once all of it has arrived."""

    def __init__(self, address: S3Address, patience: StorageTimeouts) -> None:
        """Prepare the client, without connecting."""
        self.address = address
        with translate_errors(address):
            self._store: S3Store = create_client(address, patience)

    @contextmanager
    def draft(self) -> Generator[BinaryIO]:
        """Open an unnamed file on this machine."""
        with tempfile.TemporaryFile() as file:
            yield file

    def keep(self, draft: BinaryIO, sha256: str) -> None:
        """Upload a draft, unless an object of its size exists."""
        at = self._key(sha256)
        size = draft.seek(0, os.SEEK_END)
        draft.seek(0)
        with self._translate_errors():
            if self._get_size(at) != size:
                self._upload(at, draft)

    @contextmanager
    def open(self, sha256: str) -> Generator[BinaryIO]:
        """Download an object to an unnamed file; raises `ContentDamagedError` on a mismatch."""
        with tempfile.TemporaryFile() as file:
            self._download(sha256, file)
            file.seek(0)
            yield file

    def delete(self, sha256: str) -> None:
        """Delete the object."""
        at = self._key(sha256)
        with suppress(FileNotFoundError), self._translate_errors():
            obstore.delete(self._store, at)

    def list_contents(self) -> Iterator[tuple[str, int]]:
        """List the bucket below its prefix, a thousand objects at a time."""
        prefix = self.address.prefix
        with self._translate_errors():
            for page in obstore.list(self._store, prefix or None, chunk_size=LISTED_AT_ONCE):
                for one in page:
                    path = one["path"].removeprefix(f"{prefix}/") if prefix else one["path"]
                    if (found := parse_key(path)) is not None:
                        yield found, one["size"]

    def prune_drafts(self, older_than: timedelta) -> int:  # noqa: ARG002 -- as `Storage` has it
        """Return 0: drafts are unnamed files that disappear with their process.

        S3 deletes the parts of interrupted uploads by a rule of the bucket
        (`AbortIncompleteMultipartUpload`).
        """
        return 0

    def __str__(self) -> str:
        """Return its name for messages, without credentials."""
        return str(self.address)

    def _key(self, sha256: str) -> str:
        return "/".join(part for part in (self.address.prefix, build_key(sha256)) if part)

    @contextmanager
    def _translate_errors(self) -> Generator[None]:
        if is_forked():
            raise StorageError(str(self), FORKED)
        with translate_errors(self.address):
            yield

    def _get_size(self, at: str) -> int | None:
        try:
            return obstore.head(self._store, at)["size"]
        except FileNotFoundError:
            return None

    def _upload(self, at: str, draft: BinaryIO) -> None:
        """Upload an object, a large one in parts."""
        parts = PARTS_AT_ONCE
        try:
            obstore.put(self._store, at, draft, chunk_size=PART_BYTES, max_concurrency=parts)
        except FileNotFoundError:
            raise StorageError(str(self), NO_BUCKET) from None

    def _download(self, sha256: str, file: BinaryIO) -> None:
        """Download an object into the file, and verify it on the way."""
        at, digest = self._key(sha256), hashlib.sha256()
        try:
            with self._translate_errors():
                for piece in obstore.get(self._store, at).stream(min_chunk_size=PIECE_BYTES):
                    digest.update(piece)
                    file.write(piece)
        except FileNotFoundError:
            raise ContentMissingError(str(self), sha256) from None
        if digest.hexdigest() != sha256:
            raise ContentDamagedError(str(self), sha256, digest.hexdigest())
