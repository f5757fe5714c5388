"""`workshed workers`: the processes that run jobs."""

import re
from uuid import uuid4

import pytest

from workshed.jobs.control import workers
from workshed.jobs.control.workers import QueueReport, WorkerIdentity


@pytest.fixture
def beat(conn):
    """`beat("one", 101)`: a worker with this host and pid beats."""

    def beat(host, pid, *, queues=("default", "emails"), busy=3, silent="0 s"):
        process = WorkerIdentity(uuid4(), host, pid, 8, "v1.2")
        workers.record_heartbeat(
            conn, process, busy, [QueueReport(name, *5 * [None]) for name in queues]
        )
        query = "UPDATE workshed.workers SET beat_at = beat_at - %s::interval WHERE id = %s"
        conn.execute(query, (silent, process.id))
        return str(process.id)

    return beat


@pytest.mark.usefixtures("database")
def test_each_worker_shows_where_it_runs_and_what_it_does(workshed, beat):
    beat("two", 202, busy=0, silent="1 minute")
    beat("one", 101)

    done = workshed("workers")

    assert done.code == 0
    assert max(map(len, done.lines)) <= 80
    assert re.fullmatch(r"one +101 +3/8 +\d+s +\d+s ago +default, emails", done.lines[1].strip())
    assert done.lines[2].split() == ["v1.2"]
    assert re.search(r"silent, (1m|[6-9]\ds) ago", done.lines[3])


@pytest.mark.usefixtures("database")
def test_json_output_has_everything(workshed, beat):
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
def test_without_a_worker_the_list_says_so(workshed):
    done = workshed("workers")

    assert (done.code, done.out) == (0, "")
    assert "No worker is running" in done.err


# Quiet


def quiet(conn):
    return {one.name for one in workers.list_workers(conn) if one.quiet_at is not None}


@pytest.mark.usefixtures("database")
def test_a_worker_is_quiet_until_it_is_resumed(workshed, beat, conn):
    beat("one", 101)
    other = beat("two", 202)

    done = workshed("workers", "quiet", "one:101", other)

    assert (done.code, done.out) == (0, "one:101  quiet\ntwo:202  quiet\n")
    assert quiet(conn) == {"one:101", "two:202"}
    assert "quiet, " in workshed("workers").lines[1]

    resumed = workshed("workers", "resume", "one:101")

    assert (resumed.code, resumed.out) == (0, "one:101  resumed\n")
    assert quiet(conn) == {"two:202"}


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("verb", ["quiet", "resume"])
def test_an_unknown_worker_is_refused_before_anything_is_done(workshed, beat, conn, verb):
    beat("one", 101)

    done = workshed("workers", verb, "one:101", "one:102")

    assert (done.code, done.out) == (5, "")
    assert "no worker 'one:102' (did you mean 'one:101'?)" in done.err
    assert quiet(conn) == set()


@pytest.mark.usefixtures("database")
def test_of_workers_with_one_host_and_pid_the_living_one_is_meant(workshed, beat, conn):
    beat("one", 101, silent="1 minute")
    alive = beat("one", 101)

    workshed("workers", "quiet", "one:101")

    assert [one.id for one in workers.list_workers(conn) if one.quiet_at] == [alive]


@pytest.mark.usefixtures("database")
def test_two_living_workers_with_one_name_are_named_by_their_ids(workshed, beat, conn):
    """Containers may share a host name, and all have process id 1."""
    first, second = beat("one", 1), beat("one", 1)

    done = workshed("workers", "quiet", "one:1")

    assert done.code == 5
    assert first in done.err
    assert second in done.err
    assert quiet(conn) == set()
