"""`workshed batches`: their progress, and retry or cancel of their unfinished jobs."""

import pytest

from workshed.jobs.batches import batches, progress
from workshed.jobs.outbox import schedule

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""

pytestmark = pytest.mark.usefixtures("database")


def test_batches_are_listed_with_their_progress(workshed, make_batch, dies, conn):
    first = make_batch("a", "b", "c")
    second = make_batch("d")
    batches.end_batch_job(conn, "a", "succeeded")
    dies("b")
    conn.execute(
        "UPDATE workshed.batches SET created_at = created_at - interval '1 h' WHERE id = %s",
        (first,),
    )
    batches.end_batch_job(conn, "d", "cancelled")

    done = workshed("batches")

    assert done.code == 0
    assert "June's invoices" in done.out
    assert "2 of 3, 1 dead" in done.out
    assert max(map(len, done.lines)) <= 80
    found = workshed("batches", "list", "--json").json
    assert [(one["id"], one["state"], one["ended"], one["total"]) for one in found] == [
        (second, "failed", 1, 1),
        (first, "running", 2, 3),
    ]


def test_succeeded_batches_can_be_left_out(workshed, make_batch, conn):
    running, _ = make_batch("a"), make_batch()

    found = workshed("batches", "--unfinished", "--json").json

    assert [one["id"] for one in found] == [running]


def test_without_a_batch_the_list_says_so(workshed):
    done = workshed("batches")

    assert (done.out, done.err) == ("", "No batches.\n")


def test_a_batch_is_shown_with_its_callbacks_and_dead_jobs(workshed, make_batch, dies):
    batch = make_batch("a", "b")
    dies("b")

    done = workshed("batches", "show", batch)

    assert done.code == 0
    assert f"report callback of {batch}, not sent" in " ".join(done.out.split())
    assert "dead job" in done.out
    found = workshed("batches", "show", batch, "--json").json
    assert (found["pending"], found["dead"], found["dead_jobs"]) == (1, 1, ["b"])
    assert [one["event"] for one in found["callbacks"]] == ["success"]


@pytest.mark.parametrize("batch", ["stranger's", "00000000-0000-4000-8000-000000000000"])
@pytest.mark.parametrize("command", ["show", "retry", "cancel"])
def test_an_unknown_batch_is_reported(workshed, command, batch):
    done = workshed("batches", command, batch)

    assert (done.code, done.out) == (5, "")
    assert "see `workshed batches`" in done.err


def test_dead_jobs_of_a_batch_are_retried(workshed, make_batch, dies, conn):
    batch = make_batch("a", "b")
    dies("a")
    dies("b")

    assert workshed("batches", "retry", batch).code == 2  # there is no terminal to ask
    assert workshed("batches", "retry", batch, "--dry-run").lines[0] == "a  would be retried"
    assert progress.get_progress(conn, batch).dead == 2
    done = workshed("batches", "retry", batch, "--yes")

    assert (done.code, done.lines) == (0, ["a  retried", "b  retried"])
    assert progress.get_progress(conn, batch).pending == 2
    assert {row.reason for row in schedule.list_scheduled(conn)} == {"redriven"}
    assert workshed("batches", "retry", batch, "--yes").err == "None of its jobs are dead.\n"


def test_a_job_that_another_operator_retries_meanwhile_is_no_mistake(
    workshed, make_batch, dies, conn, monkeypatch
):
    batch = make_batch("a", "b")
    dies("a")
    monkeypatch.setattr(progress, "list_dead_ids", lambda *_: ["a", "b"])

    done = workshed("batches", "retry", batch, "--yes")

    assert (done.code, done.lines) == (0, ["a  retried", "b  no longer dead"])


def test_a_batch_is_cancelled(workshed, make_batch, conn):
    batch = make_batch("a", "b")

    assert workshed("batches", "cancel", batch).code == 2
    assert workshed("batches", "cancel", batch, "--dry-run").out == f"{batch}  would be cancelled\n"
    assert progress.get_progress(conn, batch).state == "running"
    done = workshed("batches", "cancel", batch, "--yes")

    assert done.out == f"{batch}  cancelled\n"
    assert done.err == "2 jobs cancelled, 0 still queued or running.\n"
    assert schedule.list_scheduled(conn) == []


def test_a_batch_with_a_running_job_is_being_cancelled(workshed, make_batch, conn):
    batch = make_batch("a", "b")
    conn.execute("DELETE FROM workshed.schedule WHERE message_id = 'a'")

    done = workshed("batches", "cancel", batch, "--yes", "--json")

    assert (done.json["state"], done.json["pending"], done.json["cancelled"]) == (
        "cancelling",
        1,
        1,
    )


def test_a_batch_that_has_ended_cannot_be_cancelled(workshed, make_batch, conn):
    batch = make_batch("a")
    batches.end_batch_job(conn, "a", "succeeded")

    done = workshed("batches", "cancel", batch, "--yes")

    assert (done.code, done.out) == (1, "")
    assert "have ended" in done.err
