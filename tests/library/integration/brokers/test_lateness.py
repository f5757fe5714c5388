"""Overdue periodic runs, as relays measure them."""

import pytest

from workshed.cronspec import daily
from workshed.jobs.periodic import periodic_jobs
from workshed.transport.relay.lateness import collect_periodic_lateness


@pytest.fixture
def conn(connect, database):
    """A connection in autocommit."""
    return connect(autocommit=True)


@pytest.fixture
def declare(conn):
    """`declare("maintain")`: a worker declares this periodic job."""

    def declare(name):
        job = periodic_jobs.PeriodicDeclaration(name, "low", daily("09:00"))
        periodic_jobs.declare_jobs(conn, [job])

    return declare


@pytest.fixture
def look(conn, counted):
    """`look("periodic_late_seconds")`: the value of this metric after a look."""

    def look(name):
        assert collect_periodic_lateness(conn) >= 10
        return counted(name)

    return look


def test_a_run_that_was_not_created_is_late_by_the_time_since_it_was_planned(conn, declare, look):
    declare("maintain")
    assert look("periodic_late_seconds") == 0

    conn.execute("UPDATE workshed.periodic_jobs SET next_at = workshed.now() - interval '2 hours'")

    assert 7200 <= look("periodic_late_seconds") < 7300


@pytest.mark.parametrize(
    "change", ["paused_at = workshed.now()", "seen_at = workshed.now() - interval '11 minutes'"]
)
def test_a_job_that_is_paused_or_in_no_release_is_never_late(conn, declare, look, change):
    declare("maintain")
    conn.execute("UPDATE workshed.periodic_jobs SET next_at = workshed.now() - interval '2 hours'")
    conn.execute(f"UPDATE workshed.periodic_jobs SET {change}")  # noqa: S608 -- of the two above

    assert look("periodic_late_seconds") == 0
