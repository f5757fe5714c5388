"""Errors of an import as a whole; a bad row is not an error but an outcome of that row.

PermanentError
├── ImportRefusedError      the file cannot be read as a file of people
├── LayoutError             the given layout makes no sense for any file
└── AlreadyImportedError    its owner has imported the same content before
"""

from datetime import datetime

from workshed.errors import PermanentError


class ImportRefusedError(PermanentError):
    """The file cannot be read as a file of people; retrying does not help."""

    def __init__(self, reason: str, *, line: int | None = None, column: str | None = None) -> None:
        """Say what is wrong, in which line (from 1), and where in it, for example `character 3`."""
        place = ", ".join(filter(None, ["" if line is None else f"line {line}", column]))
        self.reason = f"{place}: {reason}" if place else reason
        super().__init__(f"the file is refused: {self.reason}")
        self.line = line
        self.column = column


class LayoutError(PermanentError):
    """The given layout makes no sense; nothing was stored."""


class AlreadyImportedError(PermanentError):
    """The same content was imported before, for the same owner; nothing was stored."""

    def __init__(self, import_id: int, state: str, created_at: datetime) -> None:
        super().__init__(
            f"the same file was submitted before, at {created_at:%Y-%m-%d %H:%M} UTC, as import "
            f"{import_id}, which is {state}; use `again` to import it anyway"
        )
        self.import_id = import_id
        self.state = state
        self.created_at = created_at
