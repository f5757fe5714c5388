"""Whether a pooler stands before PostgreSQL that lends its sessions out by the transaction."""

from collections.abc import Iterator

from workshed.console.doctor.surroundings import DoctorContext
from workshed.console.operations.finding import Finding, ok, warning
from workshed.db import Connection

DIRECT = "export WORKSHED_DATABASE_URL=postgresql://…  (of PostgreSQL itself, where these run)"
TRIES = 5
"""Each lets the session go to another; between two, other clients may have taken it."""


def check(here: DoctorContext) -> Iterator[Finding]:
    """See whether two connections share a session, or one has several."""
    with here.connect() as first, here.connect() as second:
        for _ in range(TRIES):
            mine = session(first)
            with second.transaction():
                theirs = session(second)
                later = session(first)  # while the other has whatever it has
            if mine == theirs or mine != later:
                yield warning(
                    "a pooler lends out the sessions of PostgreSQL by the transaction: streams of "
                    "notifications hear nothing, and relays plan by the statistics",
                    DIRECT,
                )
                return
    yield ok("each connection has a session of its own")


def session(conn: Connection) -> int:
    """Return the process of the server that answers now."""
    row = conn.execute("SELECT pg_backend_pid()").fetchone()
    assert row is not None  # noqa: S101 -- one row by construction
    return int(row[0])
