"""What can go wrong where contents are kept.

    WorkshedError
    ├── StorageError                the place cannot be used now
    │   └── ContentDamagedError     what is kept there is not what its name says
    ├── ContentMissingError         no content of that name is kept
    └── PermanentError
        └── ContentNameError        no content can have that name

Messages name a place without its credentials.
"""

from workshed.errors import PermanentError, WorkshedError


class StorageError(WorkshedError):
    """The place of `WORKSHED_STORAGE_URL` cannot be used now; the next attempt may go well."""

    def __init__(self, where: str, reason: str) -> None:
        """Keep the place, without credentials, and what is wrong with it and what to do."""
        super().__init__(f"{where} cannot be used (WORKSHED_STORAGE_URL): {reason}")
        self.where = where
        self.reason = reason


class ContentDamagedError(StorageError):
    """What is kept under a name is not what it names, and nobody is given it."""

    def __init__(self, where: str, sha256: str, found: str) -> None:
        """Keep the name, and the SHA-256 of what is there."""
        super().__init__(
            where,
            f"{sha256} holds a content whose SHA-256 is {found}; delete it, and store it again",
        )
        self.sha256 = sha256
        self.found = found


class ContentMissingError(WorkshedError):
    """No content of that name is kept."""

    def __init__(self, where: str, sha256: str) -> None:
        """Keep the name, and where it was looked for."""
        super().__init__(f"{where} holds no content {sha256}; was it deleted, or another place?")
        self.where = where
        self.sha256 = sha256


class ContentNameError(PermanentError):
    """No content can have that name: those are 64 hexadecimal digits."""

    def __init__(self, name: str) -> None:
        """Keep the name; the message shows it escaped."""
        super().__init__(
            f"{name[:100]!a} is no name of a content: those are SHA-256, in 64 lower-case "
            "hexadecimal digits"
        )
        self.name = name
