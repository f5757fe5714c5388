"""What a place for contents can do."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import BinaryIO, Protocol


class Storage(Protocol):
    """Keeps contents by the SHA-256 of their bytes.

    What is visible under a name is whole. Names are 64 hexadecimal digits; any other raises
    `ContentNameError`. A place that cannot be used raises `StorageError`.
    """

    def draft(self) -> AbstractContextManager[BinaryIO]:
        """Lend an empty file for a content that has no name yet.

        It has a descriptor, and can be read, written and sought. Gone at the end of the block,
        unless it was kept.
        """

    def keep(self, draft: BinaryIO, sha256: str) -> None:
        """Make a whole draft visible under its name; on disk when this returns.

        A content that is there already is left as it is, unless it has another size.
        """

    def open(self, sha256: str) -> AbstractContextManager[BinaryIO]:
        """Lend a content as a file with a descriptor, at its beginning.

        All of it is read before, so that nobody is given what was damaged or replaced. Raises
        `ContentMissingError` and `ContentDamagedError`.
        """

    def delete(self, sha256: str) -> None:
        """Delete a content; one that is not there is fine."""

    def contents(self) -> Iterator[tuple[str, int]]:
        """Yield name and bytes of all contents, in any order; what is none of ours is left out.

        One that comes or goes meanwhile may be among them or not.
        """

    def stale_drafts(self, older_than: timedelta) -> int:
        """Delete drafts of processes that died, written to so long ago; return how many."""
