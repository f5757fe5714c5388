"""Errors of the test kit.

WorkshedError
└── KitError
    ├── NeedsDatabaseError    a test needs more than plain sends, and there is no PostgreSQL
    ├── ScratchError          the test database cannot be created
    ├── OtherDatabaseError    a connection leads to another database than the test's
    ├── EndlessError          jobs send jobs without an end
    └── DiedError             a job died without an error of its own
"""

from workshed.errors import WorkshedError


class KitError(WorkshedError):
    """Root of the test kit's own errors; failed expectations are `AssertionError`."""


class NeedsDatabaseError(KitError):
    """A test needs more than plain sends, and there is no PostgreSQL."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(
            f"{what} needs PostgreSQL, and there is none: {why}\n"
            "Set WORKSHED_DATABASE_URL, or install what starts a private one: "
            "pip install 'workshed[dev]'. Without it the kit only records plain sends."
        )


class ScratchError(KitError):
    """The test database cannot be created next to the one that `WORKSHED_DATABASE_URL` names."""


class OtherDatabaseError(KitError):
    """A statement would have reached another database than the test's; it was not executed."""

    def __init__(self, other: str, own: str) -> None:
        super().__init__(
            f"this connection leads to {other}, and the test works in {own}; nothing was executed. "
            "Make your engine, pool or connection lead to the database that the fixture "
            "`jobs_database` names, or name this one in the fixture `jobs_other_databases` if the "
            "tests may use it, too (docs/testing.md#your-own-engine-or-pool)"
        )
        self.other = other
        self.own = own


class EndlessError(KitError):
    """Jobs send jobs without an end, or run again at once."""


class DiedError(KitError):
    """A job died for a reason other than its own error."""
