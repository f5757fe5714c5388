"""Periodic jobs: they are shown, run now, and paused."""

from datetime import timedelta

import pytest

from workshed.cronspec import daily
from workshed.database.postgres import database_now
from workshed.jobs.control import audit
from workshed.jobs.idempotency import completed_generations
from workshed.jobs.outbox import schedule
from workshed.jobs.periodic import periodic_jobs, periodic_runs
from workshed.jobs.periodic.periodic_jobs import PeriodicDeclaration

HOUR = timedelta(hours=1)


@pytest.fixture
def note(conn):
    """`note("report")`: a running worker declares such a job."""

    def note(name="report", **options):
        spec = daily("09:00", tz="Europe/Paris")
        periodic_jobs.declare_jobs(conn, [PeriodicDeclaration(name, "low", spec, options)])

    return note


@pytest.fixture
def silent(conn):
    """`silent()`: for long no worker has confirmed these jobs."""
    return lambda: conn.execute(
        "UPDATE workshed.periodic_jobs SET seen_at = seen_at - interval '3 hours'"
    )


def test_each_job_is_shown_with_its_schedule_its_last_and_its_next_run(operator, note, conn):
    note()
    note("sweep")
    made = periodic_runs.create_run(conn, "report", database_now(conn) - HOUR, "clock").message_id
    conn.execute("DELETE FROM workshed.schedule")
    completed_generations.complete_generation(conn, made, 0)

    report, sweep = operator.json("/periodic")["jobs"]
    text = operator.get("/periodic").text

    assert (report["last"]["outcome"], report["last"]["message_id"]) == ("succeeded", made)
    assert (report["state"], report["description"]) == ("active", "daily at 09:00")
    assert report["next_at_local"][10:] in ("T09:00:00+01:00", "T09:00:00+02:00")
    assert (sweep["name"], sweep["last"]) == ("sweep", None)
    assert "daily at 09:00" in text
    assert f'href="/job?id={made}"' in text
    assert "09:00 Europe/Paris" in text
    assert 'aria-label="Pause report"' in text


def test_without_a_job_the_page_says_so(operator):
    assert operator.json("/periodic") == {"jobs": []}
    assert "start a worker" in operator.get("/periodic").text


def test_a_job_that_no_worker_has_is_not_planned(operator, note, silent):
    note()
    silent()

    [job] = operator.json("/periodic")["jobs"]

    assert (job["state"], job["next_at"]) == ("no worker declares it", None)
    assert "last seen" in operator.get("/periodic").text


def test_a_run_is_created_now(operator, note, conn):
    note()

    said = operator.submit("/periodic/run", {"name": "report"})

    [row] = schedule.list_scheduled(conn)
    assert said == f"report: sent as {row.message_id}."
    [entry] = audit.list_entries(conn)
    assert (entry.action, entry.count) == ("periodic.run", 1)
    assert (entry.details, entry.summary) == ({"names": ["report"]}, said)


def test_a_run_that_a_unique_key_holds_up_says_so(operator, note, conn):
    note(unique_key="report")
    holder = periodic_runs.create_run(conn, "report", database_now(conn) - HOUR, "clock").message_id

    said = operator.submit("/periodic/run", {"name": "report"})

    assert said == f"report: job {holder} holds its unique key."
    assert len(schedule.list_scheduled(conn)) == 1
    assert audit.list_entries(conn)[0].count == 0
    assert "blocked by its unique key" in operator.get("/periodic").text


def test_a_run_that_no_worker_has_waits_for_one(operator, note, silent):
    note()
    silent()

    assert "waits for a worker that has it" in operator.submit("/periodic/run", {"name": "report"})


def test_a_job_is_paused_until_it_is_resumed(operator, note, conn):
    note()

    paused = operator.submit("/periodic/pause", {"name": "report"})
    assert paused.startswith("report: paused.")
    assert operator.json("/periodic")["jobs"][0]["state"] == "paused"
    assert 'aria-label="Resume report"' in operator.get("/periodic").text
    conn.execute("UPDATE workshed.periodic_jobs SET next_at = next_at - interval '3 days'")

    assert operator.submit("/periodic/resume", {"name": "report"}).startswith("report: resumed.")
    assert periodic_jobs.list_due(conn) == []
    assert operator.submit("/periodic/resume", {"name": "report"}) == "report: was not paused."
    assert [entry.action for entry in audit.list_entries(conn)] == [
        "periodic.resume",
        "periodic.resume",
        "periodic.pause",
    ]


@pytest.mark.parametrize("action", ["run", "pause", "resume"])
def test_an_unknown_job_stops_the_whole_action(operator, note, conn, action):
    note()

    answer = operator.post(f"/periodic/{action}", [("name", "report"), ("name", "reprot")])

    assert answer.status_code == 404
    assert "did you mean" in answer.text
    assert periodic_jobs.list_periodic_jobs(conn)[0].paused_at is None
    assert schedule.list_scheduled(conn) == []
    assert audit.list_entries(conn) == []


def test_a_job_planned_by_a_newer_release_is_not_resumed_here(operator, note, conn):
    note()
    conn.execute("UPDATE workshed.periodic_jobs SET kind = 'moonrise', paused_at = now()")

    answer = operator.post("/periodic/resume", {"name": "report"})

    assert answer.status_code == 409
    assert "this release" in answer.text


def test_a_reader_has_no_buttons(reader, note):
    note()

    assert "Run now" not in reader.get("/periodic").text
