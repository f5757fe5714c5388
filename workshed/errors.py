"""The errors of the project, each named for its condition.

    WorkshedError
    ├── SettingsError               the environment cannot be used as it is
    │   └── PoolerModeError         a pooler lends out sessions of PostgreSQL by the statement
    ├── MigrationError              the database's schema and this release do not fit
    ├── DatabaseUnreachableError    PostgreSQL does not answer
    ├── DuplicateJobError           another job has the key of a unique one
    └── PermanentError              retrying cannot help: the job goes to the dead table at once
        └── InvalidAddressError     no mail can be sent to an address

Errors of a part stand beside it: `workshed.transport.errors` (sending and consuming), and `errors`
of `workshed.contrib.mail`, `workshed.contrib.notifications` and `workshed.contrib.storage`.
What a job may say while it runs (`Snooze`, `RetryAfter`, `Discard`, `RecordMissing`) is no error of
ours and lives in `workshed.jobs`.
"""


class WorkshedError(Exception):
    """Root of all errors this project raises."""


class SettingsError(WorkshedError):
    """The environment cannot be used; the message lists every problem with what to do."""


class PoolerModeError(SettingsError):
    """A pooler lends out the sessions of PostgreSQL by the statement: nothing can be stored."""

    def __init__(self, address: str) -> None:
        """Name the pooler, and what to set."""
        super().__init__(
            f"the pooler at {address} (WORKSHED_DATABASE_URL) lends out the sessions of PostgreSQL "
            "by the statement, and Workshed needs transactions: set pool_mode = transaction there, "
            "or name PostgreSQL itself"
        )


class MigrationError(WorkshedError):
    """The database's schema and this release do not fit."""


class DatabaseUnreachableError(WorkshedError):
    """PostgreSQL does not answer at `WORKSHED_DATABASE_URL`."""


class PermanentError(WorkshedError):
    """Retrying cannot help: the job goes to the dead table at once."""


class InvalidAddressError(PermanentError):
    """The address is not one a mail can be sent to."""

    def __init__(self, address: str, reason: str) -> None:
        """Keep the address as given; the message shows it escaped."""
        super().__init__(f"the address {address[:254]!a} cannot be used: {reason}")
        self.address = address
        self.reason = reason


class DuplicateJobError(WorkshedError):
    """Another job has the unique key that this one asked for."""

    def __init__(self, key: str, holder: str) -> None:
        """Keep the key, and the id of the message that has it."""
        super().__init__(f"job {holder} has the key {key!r}; this one is not taken on")
        self.key = key
        self.holder = holder
