"""Check for a pooler in front of PostgreSQL that pools by transaction."""

from collections.abc import Iterator

from workshed.console.doctor.context import DoctorContext
from workshed.console.operations.finding import Finding, ok, warning
from workshed.database.postgres import Connection

DIRECT = "export WORKSHED_DATABASE_URL=postgresql://…  (of PostgreSQL itself, on hosts with these)"
TRIES = 5
"""Each try frees the session, so that the pooler may give it to another client."""


def check_pooler(here: DoctorContext) -> Iterator[Finding]:
    """Check whether two connections share a session, or one has several."""
    with here.connect() as first, here.connect() as second:
        for _ in range(TRIES):
            mine = get_session_pid(first)
            with second.transaction():
                theirs = get_session_pid(second)
                later = get_session_pid(first)  # while the other holds its session
            if mine == theirs or mine != later:
                yield warning(
                    "a pooler shares PostgreSQL sessions between transactions: LISTEN receives "
                    "no notifications, and the queries of relays may be slow",
                    DIRECT,
                )
                return
    yield ok("each connection has its own session")


def get_session_pid(conn: Connection) -> int:
    """Return the pid of the server process that answers now."""
    row = conn.execute("SELECT pg_backend_pid()").fetchone()
    assert row is not None  # noqa: S101 -- one row by construction
    return int(row[0])
