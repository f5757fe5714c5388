"""`workshed job ID`: show or cancel a job, wherever it is."""

import json
import threading
from types import SimpleNamespace

import pytest

from workshed.console.cli.jobs import follow, job
from workshed.jobs.control import cancellations
from workshed.jobs.history import attempts
from workshed.jobs.outbox import schedule

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""


@pytest.fixture(autouse=True)
def _database(database):
    """Every command here uses the database of the test."""


@pytest.fixture
def at_once(monkeypatch):
    """The command does not wait for a worker."""
    monkeypatch.setattr(job, "NOTIFY_TIMEOUT_S", 0.0)


def test_a_waiting_job_is_shown_and_cancelled(workshed, store, conn):
    store("a")

    assert workshed("job", "a", "--json").json["state"] == "scheduled"
    done = workshed("job", "a", "cancel", "--yes")

    assert (done.code, done.out) == (0, "a  deleted\n")
    assert schedule.list_scheduled(conn) == []


def test_a_dead_job_is_shown_and_cannot_be_cancelled(workshed, bury, conn):
    bury("a")

    assert "failed 3 times" in workshed("job", "a").out
    done = workshed("job", "a", "cancel", "--yes")

    assert done.code == 1
    assert "`workshed dead discard` deletes it" in done.err
    assert not cancellations.is_cancelled(conn, "a")


@pytest.mark.usefixtures("at_once")
def test_a_job_that_only_rabbitmq_may_have_is_skipped(workshed, conn):
    done = workshed("job", "a", "cancel", "--yes", "--json")

    assert done.json == [{"message_id": "a", "answer": "will be skipped"}]
    assert cancellations.is_cancelled(conn, "a")
    assert ["cancelled", "yes"] in map(str.split, workshed("job", "a").lines)


def test_a_running_job_is_asked_to_stop(workshed, conn, connect, eventually):
    """If the command answered at once, it could not say whether the job runs."""
    worker = connect(autocommit=True)

    def hear():
        eventually(lambda: cancellations.is_cancelled(worker, "a"))
        cancellations.mark_notified(worker, ["a"])

    hearing = threading.Thread(target=hear)
    hearing.start()
    done = workshed("job", "a", "cancel", "--yes")
    hearing.join()

    assert (done.code, done.out) == (0, "a  asked to stop\n")


def test_the_remains_of_a_job_that_ended_are_shown(workshed, conn):
    attempts.record_attempt(
        conn,
        message_id="a",
        generation=0,
        attempt=1,
        queue="default",
        actor="greet",
        outcome="discarded",
        reason="user 7 does not exist",
        error=attempts.describe_error(None),
    )

    assert "discarded  user 7 does not exist" in workshed("job", "a").out
    assert workshed("job", "a", "--json").json["attempts"][0]["outcome"] == "discarded"


def test_a_job_that_has_ended_is_not_followed(workshed, bury):
    bury("a")

    done = workshed("job", "a", "--follow")

    assert done.code == 1
    assert [line.split()[2] for line in done.lines] == ["sent", "dead"]
    assert done.err == "workshed: a has ended: dead\n"


def test_a_job_that_postgresql_does_not_know_yet_is_followed_from_its_start(
    workshed, bury, monkeypatch
):
    """Its id is printed before a worker has met it, so asking for it is no mistake."""
    monkeypatch.setattr(follow, "time", SimpleNamespace(sleep=lambda _: bury("a")))

    done = workshed("job", "a", "--follow", "--json")

    assert [json.loads(line)["what"] for line in done.lines] == ["sent", "dead"]
    assert "Not in PostgreSQL yet" in done.err


def test_an_unknown_job_is_not_shown(workshed):
    done = workshed("job", "nothing")

    assert (done.code, done.out) == (5, "")
    assert "no job 'nothing' in PostgreSQL" in done.err


def test_a_cancel_asks_first_and_a_dry_run_changes_nothing(workshed, store, conn):
    store("a")

    assert workshed("job", "a", "cancel").code == 2
    assert workshed("job", "a", "cancel", "--dry-run").out == "a  would be cancelled\n"
    assert len(schedule.list_scheduled(conn)) == 1
