"""`workshed workers`: the processes that run jobs."""

from uuid import uuid4

import pytest

from workshed.jobs import workers
from workshed.jobs.workers import Held, Process


@pytest.fixture
def beat(conn):
    """`beat("one", 101)`: a worker of this host and pid beats."""

    def beat(host, pid, *, queues=("default", "emails"), busy=3, silent="0 s"):
        process = Process(uuid4(), host, pid, 8, "v1.2")
        workers.beat(conn, process, busy, [Held(name, *5 * [None]) for name in queues])
        query = "UPDATE jobs.workers SET beat_at = beat_at - %s::interval WHERE id = %s"
        conn.execute(query, (silent, process.id))

    return beat


@pytest.mark.usefixtures("database")
def test_each_says_where_it_runs_and_what_it_does(workshed, beat):
    beat("two", 202, busy=0, silent="1 minute")
    beat("one", 101)

    done = workshed("workers")

    assert done.code == 0
    assert max(map(len, done.lines)) <= 80
    assert done.lines[1].split() == [
        "one",
        "101",
        "3/8",
        "0",
        "s",
        "0",
        "s",
        "ago",
        "default,",
        "emails",
    ]
    assert done.lines[2].split() == ["v1.2"]
    assert "silent, 60 s ago" in done.lines[3]


@pytest.mark.usefixtures("database")
def test_programs_read_all_of_it(workshed, beat):
    beat("one", 101)

    (one,) = workshed("workers", "--json").json

    assert {
        "host": "one",
        "pid": 101,
        "busy": 3,
        "threads": 8,
        "release": "v1.2",
    }.items() <= one.items()
    assert one["queues"] == ["default", "emails"]
    assert one["alive"] is True
    assert {"id", "started_at", "beat_at"} <= one.keys()


@pytest.mark.usefixtures("database")
def test_where_there_is_none_that_is_said(workshed):
    done = workshed("workers")

    assert (done.code, done.out) == (0, "")
    assert "No worker beats" in done.err
