"""Errors of the storage.

    WorkshedError
    ├── StorageError                the storage cannot be used now
    │   └── ContentDamagedError     a content does not match its name
    ├── ContentMissingError         no content of that name exists
    └── PermanentError
        └── ContentNameError        no content can have that name

Messages name a storage without its credentials.
"""

from workshed.errors import PermanentError, WorkshedError


class StorageError(WorkshedError):
    """The storage of `WORKSHED_STORAGE_URL` cannot be used now; the next attempt may succeed."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where} cannot be used (WORKSHED_STORAGE_URL): {reason}")
        self.where = where
        self.reason = reason


class ContentDamagedError(StorageError):
    """A content does not match its name, so it is not returned."""

    def __init__(self, where: str, sha256: str, found: str) -> None:
        """Keep the name, and the SHA-256 of the actual content."""
        super().__init__(
            where,
            f"{sha256} holds a content whose SHA-256 is {found}; delete it, and store it again",
        )
        self.sha256 = sha256
        self.found = found


class ContentMissingError(WorkshedError):
    """No content of that name exists."""

    def __init__(self, where: str, sha256: str) -> None:
        """Keep the name, and the storage that was searched."""
        super().__init__(f"{where} has no content {sha256}; was it deleted, or kept elsewhere?")
        self.where = where
        self.sha256 = sha256


class ContentNameError(PermanentError):
    """No content can have that name, because it is not 64 hexadecimal digits."""

    def __init__(self, name: str) -> None:
        """Keep the name; the message shows it escaped."""
        super().__init__(
            f"{name[:100]!a} is not the name of a content: those are SHA-256, in 64 "
            "lower-case hexadecimal digits"
        )
        self.name = name
