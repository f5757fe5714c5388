"""Workers: what each does now, and how one is made quiet."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from workshed.jobs.control import audit, workers
from workshed.jobs.control.workers import QueueReport, WorkerIdentity
from workshed.jobs.outbox import relays


@pytest.fixture
def beat(conn):
    """`beat("web-1", 101)`: a worker beats that runs one job; its id."""

    def beat(host, pid, *, silent="0 s", message_id="m1", since=None):
        process = WorkerIdentity(uuid4(), host, pid, 8, "v1.2")
        began = datetime.now(UTC) - timedelta(minutes=3) if since is None else since
        job = {
            "message_id": message_id,
            "actor": "greet",
            "queue": "default",
            "since": began.isoformat(),
        }
        held = [QueueReport("default", *5 * [None])]
        workers.record_heartbeat(conn, process, 1, held, running=[job], memory_bytes=90 << 20)
        query = "UPDATE workshed.workers SET beat_at = beat_at - %s::interval WHERE id = %s"
        conn.execute(query, (silent, process.id))
        return str(process.id)

    return beat


def test_each_worker_shows_where_it_runs_and_what_it_does(operator, beat):
    beat("web-1", 101)

    (one,) = operator.json("/workers")["workers"]
    text = operator.get("/workers").text

    assert (one["name"], one["state"], one["memory_bytes"]) == ("web-1:101", "alive", 90 << 20)
    assert (one["busy"], one["threads"], one["queues"]) == (1, 8, ["default"])
    (job,) = one["running"]
    assert (job["message_id"], job["actor"], job["queue"]) == ("m1", "greet", "default")
    assert 180 <= job["runs_for"] < 240
    assert "1 of 8" in text
    assert "90 MiB" in text
    assert '<a href="/job?id=m1">greet</a>' in text
    assert 'aria-label="Quiet web-1:101"' in text


def test_without_a_worker_the_page_says_how_to_start_one(operator):
    assert operator.json("/workers") == {"workers": [], "relays": []}
    text = operator.get("/workers").text
    assert "No worker is running" in text
    assert "<code>workshed worker</code>" in text
    assert "No relay is running" in text


def test_a_silent_worker_gets_no_more_commands(operator, beat):
    beat("web-1", 101, silent="1 minute")

    assert operator.json("/workers")["workers"][0]["state"] == "silent"
    text = operator.get("/workers").text
    assert 'data-state="silent"' in text
    assert "/workers/quiet" not in text


def test_a_worker_is_quiet_until_it_is_resumed(operator, beat, conn):
    one, other = beat("web-1", 101), beat("web-2", 102)

    said = operator.submit("/workers/quiet", {"id": one})

    assert said.startswith("web-1:101: quiet. Within 3 s it starts no more jobs")
    states = {worker.id: worker.state for worker in workers.list_workers(conn)}
    assert states == {one: "quiet", other: "alive"}
    assert 'aria-label="Resume web-1:101"' in operator.get("/workers").text

    assert operator.submit("/workers/resume", {"id": one}).startswith("web-1:101: resumed.")
    assert {worker.state for worker in workers.list_workers(conn)} == {"alive"}
    resumed, rested = audit.list_entries(conn)
    assert (rested.action, rested.performed_by, rested.count) == ("workers.quiet", "olga", 1)
    assert rested.details == resumed.details == {"workers": ["web-1:101"]}


@pytest.mark.parametrize("worker_id", ["", "x", "00000000-0000-4000-8000-000000000001"])
def test_a_worker_that_is_gone_is_reported(operator, beat, conn, worker_id):
    beat("web-1", 101)

    answer = operator.post("/workers/quiet", {"id": worker_id})

    assert answer.status_code == 404
    assert "has exited" in answer.text
    assert audit.list_entries(conn) == []


def test_relays_are_shown_too(operator, conn):
    relays.record_relay(conn, uuid4(), "web-1", 77)
    relays.record_relay(conn, uuid4(), "web-2", 78)
    conn.execute(
        "UPDATE workshed.relays SET beat_at = workshed.now() - interval '1 min' WHERE pid = 78"
    )

    found = operator.json("/workers")["relays"]

    assert [(one["host"], one["alive"]) for one in found] == [("web-1", True), ("web-2", False)]
    assert "web-2:78" in operator.get("/workers").text


def test_a_clock_that_is_ahead_gives_no_negative_duration(operator, beat):
    beat("web-1", 101, since=datetime.now(UTC) + timedelta(hours=1))

    assert operator.json("/workers")["workers"][0]["running"][0]["runs_for"] == 0


def test_an_id_from_outside_is_escaped(operator, beat):
    beat("<b>web", 101, message_id='"><script>&?id=2')

    text = operator.get("/workers").text

    assert "<script>" not in text.replace('<script src="/static/console.js" defer></script>', "")
    assert "<b>web" not in text
    assert "/job?id=%22%3E%3Cscript%3E%26%3Fid%3D2" in text
