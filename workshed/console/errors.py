"""Errors of the console's own operations.

WorkshedError
├── NotFoundError          unknown id or name
│   └── UnknownActorError  no actor with this name in the imported packages
├── NotConfirmedError      no terminal to confirm at, and no `--yes`
├── StillWaitingError      a job has not ended within `--timeout`
├── PartialFailureError    only part was done; the result of each item was printed
├── PasswordFileError      a file of passwords cannot be read or written
└── ManagementError        RabbitMQ's management API does not answer, or not as expected
"""

from collections.abc import Collection, Iterable

from workshed.errors import WorkshedError
from workshed.transport.errors import did_you_mean


class NotFoundError(WorkshedError):
    """Unknown id or name."""


class UnknownActorError(NotFoundError):
    """No actor with this name in the imported packages."""

    def __init__(self, name: str, known: Iterable[str], packages: Collection[str]) -> None:
        names = sorted(known)
        looked = f"in {', '.join(packages)}" if packages else "here: no module was imported"
        super().__init__(
            f"no actor {name!r} {looked}{did_you_mean(name, names)}; "
            f"there are {', '.join(names) or 'none'}. "
            "To import actors, use --import PACKAGE, or `actors=` of your App"
        )


class NotConfirmedError(WorkshedError):
    """There is no terminal to confirm at, and `--yes` was not given."""


class StillWaitingError(WorkshedError):
    """A job has not ended within `--timeout`; it may still end."""


class PasswordFileError(WorkshedError):
    """A file of passwords cannot be read or written; the message shows no line of it."""


class PartialFailureError(WorkshedError):
    """Only part was done; the result of each item was printed."""


class ManagementError(WorkshedError):
    """RabbitMQ's management API does not answer, or not as expected."""
