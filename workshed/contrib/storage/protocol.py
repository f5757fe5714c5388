"""The interface of a storage for contents."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import BinaryIO, Protocol


class Storage(Protocol):
    """Stores contents by the SHA-256 of their bytes.

    A content that is visible under a name is complete. Names are 64 hexadecimal digits; any other
    raises `ContentNameError`. A storage that cannot be used raises `StorageError`.
    """

    def draft(self) -> AbstractContextManager[BinaryIO]:
        """Open an empty file for a content that has no name yet.

        It has a descriptor, and can be read, written and sought. It is deleted at the end of the
        block, unless it was kept.
        """

    def keep(self, draft: BinaryIO, sha256: str) -> None:
        """Make a complete draft visible under its name; it is on disk when this returns.

        An existing content is left as it is, unless its size differs.
        """

    def open(self, sha256: str) -> AbstractContextManager[BinaryIO]:
        """Open a content as a file with a descriptor, at its beginning.

        Verifies all of it first, so that a damaged or replaced content is never returned. Raises
        `ContentMissingError` and `ContentDamagedError`.
        """

    def delete(self, sha256: str) -> None:
        """Delete a content, if it exists."""

    def list_contents(self) -> Iterator[tuple[str, int]]:
        """Yield name and bytes of all contents, in any order; other files are skipped.

        A content that appears or disappears meanwhile may or may not be included.
        """

    def prune_drafts(self, older_than: timedelta) -> int:
        """Delete drafts of dead processes that were last written so long ago; return how many."""
