"""The errors of the project, each named for its condition.

    WorkshedError
    ├── SettingsError               the environment cannot be used as it is
    │   └── PoolerModeError         a pooler before PostgreSQL is in statement pooling mode
    ├── MigrationError              the database's schema does not match this release
    ├── DatabaseUnreachableError    PostgreSQL does not answer
    ├── UnknownConnectionError      Workshed cannot write on the connection (also a TypeError)
    ├── OpenTransactionError        a transaction is open where none may be, or the reverse
    ├── DuplicateJobError           another job holds the unique key
    └── PermanentError              retrying cannot help: the job goes to the dead table at once
        └── InvalidAddressError     no mail can be sent to an address

More errors live next to the code that raises them: `workshed.transport.errors` (sending and
consuming), and `errors` of `workshed.contrib.mail`, `workshed.contrib.notifications` and
`workshed.contrib.storage`. What a job may raise to choose its outcome (`Snooze`, `RetryAfter`,
`Discard`, `RecordMissing`) is not in this tree; it is in `workshed.jobs`.
"""

__all__ = [
    "DatabaseUnreachableError",
    "DuplicateJobError",
    "InvalidAddressError",
    "MigrationError",
    "OpenTransactionError",
    "PermanentError",
    "SettingsError",
    "UnknownConnectionError",
    "WorkshedError",
]


class WorkshedError(Exception):
    """Root of all errors this project raises."""


class SettingsError(WorkshedError):
    """The environment cannot be used; the message lists every problem and what to do about it."""


class PoolerModeError(SettingsError):
    """A pooler before PostgreSQL is in statement pooling mode, so nothing can be stored."""

    def __init__(self, address: str) -> None:
        super().__init__(
            f"the pooler at {address} (WORKSHED_DATABASE_URL) is in statement pooling mode, and "
            "Workshed needs transactions: set pool_mode = transaction there, or connect to "
            "PostgreSQL directly"
        )


class MigrationError(WorkshedError):
    """The database's schema does not match this release."""


class DatabaseUnreachableError(WorkshedError):
    """PostgreSQL does not answer at `WORKSHED_DATABASE_URL`."""


class UnknownConnectionError(WorkshedError, TypeError):
    """Workshed does not support this type of connection, or it does not lead to PostgreSQL."""


class OpenTransactionError(WorkshedError):
    """A transaction is open where it must not be, or missing where one is needed."""


class PermanentError(WorkshedError):
    """Retrying cannot help: the job goes to the dead table at once."""


class InvalidAddressError(PermanentError):
    """No mail can be sent to the address."""

    def __init__(self, address: str, reason: str) -> None:
        """Keep the address as given; the message shows it escaped."""
        super().__init__(f"the address {address[:254]!a} cannot be used: {reason}")
        self.address = address
        self.reason = reason


class DuplicateJobError(WorkshedError):
    """Another job holds the unique key of this one."""

    def __init__(self, key: str, holder: str) -> None:
        super().__init__(f"job {holder} holds the unique key {key!r}; this job is not enqueued")
        self.key = key
        self.holder = holder


EXIT_ACTORS_RAISED = 1
"""Exit codes of workers, relays and clocks; `workshed --help` lists those of commands."""
EXIT_USAGE = 2
EXIT_BROKER = 3
EXIT_DATABASE = 4
EXIT_WATCHDOG = 70
"""A thread died, or an I/O loop hung: a supervisor should start another process in its place."""
EXIT_HARD_DEADLINE = 71
"""A job did not end at its hard limit; likewise."""
