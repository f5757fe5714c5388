"""What can go wrong with a command, beside what goes wrong in what it works with.

WorkshedError
├── NotFoundError          nothing has this id or name
│   └── UnknownActorError  no actor of this name is in the packages that were imported
├── NotConfirmedError      nobody is there to be asked, and `--yes` was not given
├── StillWaitingError      a job has not ended within `--timeout`
├── PartlyError            some of what was asked for was done; each one's fate was printed
├── PasswordFileError      a file of passwords cannot be read or written
└── ManagementError        RabbitMQ's management API does not answer, or not as hoped
"""

from collections.abc import Collection, Iterable

from workshed.errors import WorkshedError
from workshed.transport.errors import did_you_mean


class NotFoundError(WorkshedError):
    """Nothing has this id or name."""


class UnknownActorError(NotFoundError):
    """No actor of this name is in the packages that were imported."""

    def __init__(self, name: str, known: Iterable[str], packages: Collection[str]) -> None:
        """Name the likely one, and all of them where there are few."""
        names = sorted(known)
        looked = f"in {', '.join(packages)}" if packages else "here, where no module was imported"
        super().__init__(
            f"no actor {name!r} {looked}{did_you_mean(name, names)}; "
            f"there are {', '.join(names) or 'none'}. "
            "Actors of another package: --import PACKAGE, or `actors=` of your App"
        )


class NotConfirmedError(WorkshedError):
    """Nobody is there to be asked, and `--yes` was not given."""


class StillWaitingError(WorkshedError):
    """A job has not ended within `--timeout`; it may yet."""


class PasswordFileError(WorkshedError):
    """A file of passwords cannot be read or written; no line of it is shown."""


class PartlyError(WorkshedError):
    """Some of what was asked for was done; each one's fate was printed."""


class ManagementError(WorkshedError):
    """RabbitMQ's management API does not answer, or not as hoped."""
