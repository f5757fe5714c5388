"""`workshed periodic`: jobs that run on a schedule."""

from datetime import timedelta

import pytest

from tests import pages
from tests.transcripts import follow
from workshed.cronspec import cron, daily
from workshed.database.postgres import database_now
from workshed.jobs.history import attempts
from workshed.jobs.idempotency import completed_generations
from workshed.jobs.outbox import schedule
from workshed.jobs.periodic import periodic_jobs, periodic_runs
from workshed.jobs.periodic.periodic_jobs import PeriodicDeclaration

HOUR = timedelta(hours=1)
PAGE = pages.block("docs/periodic.md", "$ workshed periodic")


@pytest.fixture(autouse=True)
def _database(database):
    """Every command here uses the database of the test."""


@pytest.fixture
def note(conn):
    """`note(daily("09:00"))`: a running worker declares such a job."""

    def note(spec=None, name="report", **options):
        job = PeriodicDeclaration(name, "low", spec or daily("09:00", tz="Europe/Paris"), options)
        periodic_jobs.declare_jobs(conn, [job])

    return note


@pytest.fixture
def created_run(conn, note):
    """A run that was created an hour ago; its message id."""
    note()
    return periodic_runs.create_run(conn, "report", database_now(conn) - HOUR, "clock").message_id


@pytest.fixture
def sent(conn, created_run):
    """A run whose message RabbitMQ has."""
    conn.execute("DELETE FROM workshed.schedule")
    return created_run


def outcome(workshed):
    [job] = workshed("periodic", "--json").json
    return job["last"]["outcome"]


def fail(conn, message_id, how):
    names = {"queue": "low", "actor": "report", "reason": "no"}
    attempts.record_attempt(
        conn, message_id=message_id, generation=0, attempt=1, outcome=how, **names
    )
    completed_generations.complete_generation(conn, message_id, 0)


# List


def test_each_job_is_shown_with_its_schedule_its_last_and_its_next_run(workshed, note, sent, conn):
    note(cron("*/20 3 * * MON-FRI"), name="a_job_whose_name_is_rather_long_but_not_unheard_of")
    completed_generations.complete_generation(conn, sent, 0)

    done = workshed("periodic")

    assert done.code == 0
    assert max(map(len, done.lines)) <= 80
    _, first, words, second, again = done.lines
    assert first.split()[1:] == ["never", "in", *first.split()[3:]]
    assert words.startswith("every 20th minute from")
    assert second.split()[:2] == ["report", "succeeded"]
    assert again.split()[:6] == ["daily", "at", "09:00", "1h", "ago,", "by"]
    assert again.endswith(" 09:00 Europe/Paris")


def test_the_output_is_that_of_the_page(note, conn):
    note(name="count_orders")
    note(daily("03:30"), name="maintain")
    run = periodic_runs.create_run(conn, "count_orders", database_now(conn) - 17 * HOUR, "catch_up")
    conn.execute("DELETE FROM workshed.schedule")
    completed_generations.complete_generation(conn, run.message_id, 0)

    follow(PAGE)


def test_json_output_is_the_rows_only(workshed, sent):
    [job] = workshed("periodic", "list", "--json").json

    assert (job["name"], job["kind"], job["spec"], job["zone"]) == (
        "report",
        "daily",
        "09:00",
        "Europe/Paris",
    )
    assert (job["misfire_policy"], job["misfire_window"], job["paused_at"]) == (
        "once",
        7 * 86_400,
        None,
    )
    assert (job["last"]["message_id"], job["last"]["created_by"]) == (sent, "clock")
    assert job["next_at"].endswith("+00:00")


def test_without_a_job_the_list_says_so(workshed):
    done = workshed("periodic")

    assert (done.code, done.out) == (0, "")
    assert "No periodic jobs" in done.err
    assert workshed("periodic", "--json").json == []


def test_a_job_that_no_worker_has_is_not_planned(workshed, note, conn):
    note()
    conn.execute("UPDATE workshed.periodic_jobs SET seen_at = seen_at - interval '3 hours'")

    done = workshed("periodic")

    assert "no worker declares it" in done.out
    assert "last seen 3h ago" in done.out
    assert workshed("periodic", "--json").json[0]["next_at"] is None


# The outcome of the last run


def test_a_run_that_succeeded(workshed, sent, conn):
    completed_generations.complete_generation(conn, sent, 0)

    assert outcome(workshed) == "succeeded"


def test_a_run_that_waits_for_its_relay(workshed, created_run):
    assert outcome(workshed) == "scheduled"


def test_a_run_that_rabbitmq_has_is_on_its_way(workshed, sent):
    assert outcome(workshed) == "on its way"


def test_a_run_that_failed_is_retried(workshed, sent, conn):
    fail(conn, sent, "retry")
    schedule.insert_row(conn, schedule.OutboxRow(sent, 1, "low", "report", "{}", "retry"))

    assert outcome(workshed) == "retry"


def test_a_run_whose_next_attempt_rabbitmq_has_is_on_its_way(workshed, sent, conn):
    fail(conn, sent, "retry")

    assert outcome(workshed) == "on its way"


def test_a_run_that_was_discarded(workshed, sent, conn):
    fail(conn, sent, "discarded")

    assert outcome(workshed) == "discarded"


def test_a_run_that_is_dead(workshed, sent, conn, bury):
    fail(conn, sent, "dead")
    bury(sent, actor="report", queue="low")

    assert outcome(workshed) == "dead"


def test_a_run_whose_outcome_was_pruned_has_none(workshed, sent, conn):
    """The records of a yearly job are pruned long before the next run."""
    conn.execute("UPDATE workshed.periodic_runs SET created_at = created_at - interval '31 days'")

    assert outcome(workshed) is None


def test_a_run_that_was_not_sent_says_so(workshed, note, conn):
    note(unique_key="report")
    for ago in (2 * HOUR, HOUR):
        periodic_runs.create_run(conn, "report", database_now(conn) - ago, "clock")

    assert outcome(workshed) == "not sent: another job held its unique key"


# Run


def test_run_creates_a_run_for_this_moment(workshed, note, conn):
    note()

    done = workshed("periodic", "run", "report")

    [row] = schedule.list_scheduled(conn)
    assert (done.code, done.out) == (0, f"report  sent as {row.message_id}\n")
    assert workshed("periodic", "--json").json[0]["last"]["created_by"] == "manual"


def test_run_says_that_a_unique_job_still_runs(workshed, note, conn):
    note(unique_key="report")
    holder = periodic_runs.create_run(conn, "report", database_now(conn) - HOUR, "clock").message_id

    done = workshed("periodic", "run", "report")

    assert (done.code, done.out) == (1, f"report  job {holder} holds its unique key\n")


def test_run_says_that_no_worker_has_it(workshed, note, conn):
    note()
    conn.execute("UPDATE workshed.periodic_jobs SET seen_at = seen_at - interval '3 hours'")

    assert "waits for a worker that has it" in workshed("periodic", "run", "report").out


# Pause


def test_a_job_is_paused_until_it_is_resumed(workshed, note, conn):
    note()

    assert workshed("periodic", "pause", "report").out == "report  paused\n"
    assert "paused" in workshed("periodic").out
    assert workshed("periodic", "--json").json[0]["next_at"] is None

    conn.execute("UPDATE workshed.periodic_jobs SET next_at = next_at - interval '3 days'")
    assert workshed("periodic", "resume", "report").out == "report  resumed\n"
    assert periodic_jobs.list_due(conn) == []
    assert workshed("periodic", "resume", "report").out == "report  was not paused\n"


@pytest.mark.parametrize("verb", ["run", "pause", "resume"])
def test_an_unknown_job_is_refused_before_anything_is_done(workshed, note, conn, verb):
    note()

    done = workshed("periodic", verb, "report", "reprot")

    assert (done.code, done.out) == (5, "")
    assert "no periodic job 'reprot' (did you mean 'report'?)" in done.err
    assert periodic_jobs.list_periodic_jobs(conn)[0].paused_at is None
