"""What the kit says when a test asks for what it cannot give.

WorkshedError
└── KitError
    ├── NeedsDatabaseError    more than plain sends was asked for, and there is no PostgreSQL
    ├── ScratchError          no database can be made beside the one that is named
    ├── OtherDatabaseError    a connection leads to another database than that of the test
    ├── EndlessError          jobs go on sending jobs
    └── DiedError             a job died without an error of its own
"""

from workshed.errors import WorkshedError


class KitError(WorkshedError):
    """Root of what the test kit raises itself; failed expectations are `AssertionError`."""


class NeedsDatabaseError(KitError):
    """More than plain sends was asked for, and there is no PostgreSQL."""

    def __init__(self, what: str, why: str) -> None:
        """Say what is missing and how to have it."""
        super().__init__(
            f"{what} needs PostgreSQL, and there is none: {why}\n"
            "Set WORKSHED_DATABASE_URL, or install what starts a private one: "
            "pip install 'workshed[dev]'. Without it the kit only records plain sends."
        )


class ScratchError(KitError):
    """No database of its own can be made beside the one that `WORKSHED_DATABASE_URL` names."""


class OtherDatabaseError(KitError):
    """A statement was to reach another database than that of the test; it was not executed."""

    def __init__(self, other: str, own: str) -> None:
        """Name both, and say how to have one."""
        super().__init__(
            f"this connection leads to {other}, and the test works in {own}; nothing was executed. "
            "Make your engine, pool or connection lead to the database that the fixture "
            "`jobs_database` names, or name this one in the fixture `jobs_other_databases` if the "
            "tests may use it, too (docs/testing.md#your-own-engine-or-pool)"
        )
        self.other = other
        self.own = own


class EndlessError(KitError):
    """Jobs go on sending jobs, or come back at once."""


class DiedError(KitError):
    """A job died for another reason than an error of its own."""
