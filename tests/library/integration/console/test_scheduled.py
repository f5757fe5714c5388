"""`workshed scheduled`: waiting jobs are listed, moved and cancelled."""

import re
from uuid import uuid4

import pytest

from workshed.jobs.control import cancel_rules, cancellations
from workshed.jobs.history import attempts
from workshed.jobs.outbox import claims, schedule

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""


@pytest.fixture(autouse=True)
def _database(database):
    """Every command here uses the database of the test."""


@pytest.fixture
def on_its_way(conn, store):
    """A job that a relay has claimed."""
    store("taken", due="-1 s")
    claims.claim_due(conn, uuid4(), 10)
    return "taken"


def due_in(conn, message_id):
    query = """
        SELECT round(extract(epoch FROM due_at - workshed.now())) FROM workshed.schedule
         WHERE message_id = %s
    """
    return conn.execute(query, (message_id,)).fetchone()[0]


# List


@pytest.mark.usefixtures("broker")
@pytest.mark.parametrize("command", [(), ("cancel", "--all", "--yes")])
def test_a_misspelt_queue_is_named(workshed, store, command):
    store("a", queue="emails")

    assert "(did you mean 'emails'?)" in workshed("scheduled", *command, "--queue", "emials").err


def test_the_next_due_job_is_first_with_its_call_and_its_time(workshed, store):
    later, sooner = str(uuid4()), str(uuid4())
    store(later, due="3 days", actor="remind_customer_who_never_came_back", queue="bulk")
    store(sooner, due="2 hours")

    done = workshed("scheduled")

    assert done.code == 0
    assert [line.split()[0] for line in done.lines[1::2]] == [sooner, later]
    assert done.lines[1].split()[1:] == ["greet(7)", "in", "2h"]
    assert "in 3d" in done.lines[3]
    assert done.lines[4].split() == ["bulk,", "delayed"]
    assert max(map(len, done.lines)) <= 80
    assert done.err == ""


def test_json_output_is_the_rows_only(workshed, store):
    store("a", due="2 hours", queue="bulk")

    [row] = workshed("scheduled", "list", "--json").json

    assert (row["message_id"], row["queue"], row["actor"]) == ("a", "bulk", "greet")
    assert row["body"]["args"] == [7]
    assert row["due_at"].endswith("+00:00")
    assert row["taken"] is False


def test_a_job_that_its_sender_publishes_is_on_its_way(workshed, store):
    store("a", reason="outbox_lease")

    assert workshed("scheduled").lines[1].endswith("on its way")


def test_without_a_waiting_job_the_list_says_so(workshed):
    done = workshed("scheduled")

    assert (done.code, done.out, done.err) == (0, "", "No waiting jobs.\n")
    assert workshed("scheduled", "--json").json == []


def test_filters_select_jobs(workshed, store):
    store("a", actor="greet", queue="bulk")
    store("b", actor="wave", queue="default")

    assert [
        row["message_id"] for row in workshed("scheduled", "--actor", "wave", "--json").json
    ] == ["b"]
    assert [
        row["message_id"] for row in workshed("scheduled", "--queue", "bulk", "--json").json
    ] == ["a"]


def test_the_number_of_hidden_jobs_is_shown(workshed, store):
    store("a")
    store("b")

    done = workshed("scheduled", "--limit", "1", "--json")

    assert len(done.json) == 1
    assert "More than 1 jobs wait" in done.err


# Show


def test_a_job_is_shown_with_its_body_and_its_attempts(workshed, store, conn):
    store("a", reason="retry", generation=1, due="1 hour")
    attempts.record_attempt(
        conn,
        message_id="a",
        generation=0,
        attempt=1,
        queue="default",
        actor="greet",
        outcome="retry",
        reason="OSError: away",
        error=attempts.describe_error(OSError("away")),
    )

    done = workshed("scheduled", "show", "a")

    assert done.code == 0
    assert "in 1h" in done.out
    assert '"args": [' in done.out
    assert re.search(r"attempt 1: retry \d+s ago", done.out)
    assert "OSError: away" in done.out
    shown = workshed("scheduled", "show", "a", "--json").json
    assert shown["state"] == "scheduled"
    assert [one["outcome"] for one in shown["attempts"]] == ["retry"]


# Run and move


def test_run_makes_a_job_due_now(workshed, store, conn):
    store("a", due="3 days")

    done = workshed("scheduled", "run", "a")

    assert (done.code, done.out) == (0, "a  moved\n")
    assert due_in(conn, "a") <= 0


def test_a_job_on_its_way_runs_anyway(workshed, on_its_way):
    done = workshed("scheduled", "run", on_its_way)

    assert (done.code, done.out) == (0, "taken  on its way\n")


def test_a_job_is_moved_to_a_span_from_now_or_to_a_time(workshed, store, conn):
    store("a")

    assert workshed("scheduled", "move", "a", "--in", "1d2h").code == 0
    assert due_in(conn, "a") == pytest.approx(26 * 3600, abs=60)

    assert workshed("scheduled", "move", "a", "--at", "2100-01-01T00:00+01:00").code == 0
    assert schedule.list_scheduled(conn)[0].due_at.isoformat() == "2099-12-31T23:00:00+00:00"


def test_a_job_on_its_way_is_not_moved(workshed, on_its_way):
    done = workshed("scheduled", "move", on_its_way, "--in", "2h")

    assert (done.code, done.out) == (1, "taken  on its way\n")
    assert done.err == "workshed: 1 of 1 not done: on its way\n"


@pytest.mark.parametrize(
    "options",
    [(), ("--in", "2h", "--at", "2100-01-01T00:00Z"), ("--in", "soon"), ("--at", "2100-01-01")],
)
def test_an_ambiguous_time_is_refused(workshed, store, conn, options):
    store("a", due="3 days")

    assert workshed("scheduled", "move", "a", *options).code == 2
    assert due_in(conn, "a") > 86_400


# Cancel


def test_a_cancelled_job_is_gone(workshed, store, conn):
    store("a")

    done = workshed("scheduled", "cancel", "a", "--yes")

    assert (done.code, done.out) == (0, "a  deleted\n")
    assert schedule.list_scheduled(conn) == []


def test_a_job_that_relays_have_is_skipped_later(workshed, on_its_way, conn):
    done = workshed("scheduled", "cancel", on_its_way, "--yes", "--json")

    assert done.json == [{"message_id": "taken", "answer": "will be skipped"}]
    assert cancellations.is_cancelled(conn, "taken")


def test_without_a_terminal_yes_is_required(workshed, store, conn):
    store("a")

    done = workshed("scheduled", "cancel", "a")

    assert (done.code, done.out) == (2, "")
    assert "Cancel 1 job: no terminal to confirm at; use --yes" in done.err
    assert len(schedule.list_scheduled(conn)) == 1


def test_a_dry_run_changes_nothing(workshed, store, conn):
    store("a")

    done = workshed("scheduled", "cancel", "a", "--dry-run")

    assert (done.code, done.out) == (0, "a  would be cancelled\n")
    assert len(schedule.list_scheduled(conn)) == 1
    assert not cancellations.is_cancelled(conn, "a")


def test_a_mistyped_id_cancels_nothing_unless_it_may_be_on_rabbitmq(workshed, conn):
    """Unless its row is looked up, an id with a typo is answered with `will be skipped`."""
    assert workshed("scheduled", "cancel", "a", "--yes").code == 5
    assert not cancellations.is_cancelled(conn, "a")

    assert workshed("scheduled", "cancel", "a", "--yes", "--sent").out == "a  will be skipped\n"
    assert cancellations.is_cancelled(conn, "a")


# Cancel by a filter


def test_all_matching_jobs_are_cancelled_and_counted(workshed, store, conn):
    store("a", actor="greet")
    store("b", actor="greet", queue="bulk")
    store("c", actor="wave")

    done = workshed("scheduled", "cancel", "--all", "--actor", "greet", "--yes")

    assert (done.code, done.out) == (0, "a  deleted\nb  deleted\n")
    assert done.err == "2 jobs cancelled.\n"
    assert [row.message_id for row in schedule.list_scheduled(conn)] == ["c"]
    assert cancel_rules.list_rules(conn) == []


def test_a_dry_run_of_a_filter_counts_and_changes_nothing(workshed, store, conn):
    store("a")

    words = ("--all", "--queue", "default", "--older-than", "1d", "--sent", "--dry-run", "--json")
    done = workshed("scheduled", "cancel", *words)

    assert done.json == [{"message_id": "a", "answer": "would be cancelled"}]
    assert "1 job would be cancelled." in done.err
    assert len(schedule.list_scheduled(conn)) == 1
    assert cancel_rules.list_rules(conn) == []


def test_a_filter_asks_first(workshed, store, conn):
    store("a")

    done = workshed("scheduled", "cancel", "--all", "--sent", "--actor", "greet")

    assert (done.code, done.out) == (2, "")
    assert "Cancel 1 job, and all matching jobs on RabbitMQ: no terminal" in done.err
    assert cancel_rules.list_rules(conn) == []


def test_jobs_on_rabbitmq_are_cancelled_by_a_rule_until_it_is_deleted(workshed, store, conn):
    done = workshed("scheduled", "cancel", "--all", "--sent", "--tag", "user-7", "--yes")

    [rule] = cancel_rules.list_rules(conn)
    assert (done.code, done.out) == (0, "")
    assert f"To delete it: `workshed scheduled rules delete {rule.id}`" in done.err
    listed = workshed("scheduled", "rules").lines
    assert listed[1].split()[:4] == [str(rule.id), "-", "-", "user-7"]
    assert workshed("scheduled", "rules", "--json").json[0]["tag"] == "user-7"

    assert workshed("scheduled", "rules", "delete", str(rule.id)).out == f"{rule.id}  deleted\n"
    assert workshed("scheduled", "rules", "delete", str(rule.id)).code == 5
    assert workshed("scheduled", "rules").err == "No cancellation rules.\n"


@pytest.mark.parametrize(
    "words", [(), ("a", "--all"), ("a", "--tag", "x"), ("--tag", "x"), ("--all", "--sent")]
)
def test_an_ambiguous_selection_is_refused(workshed, store, conn, words):
    """`--all --sent` without a filter would cancel every job."""
    store("a")

    assert workshed("scheduled", "cancel", *words, "--yes").code == 2
    assert len(schedule.list_scheduled(conn)) == 1


# Errors


@pytest.mark.parametrize("words", [("run",), ("move", "--in", "2h"), ("cancel", "--yes")])
def test_an_unknown_id_is_reported_next_to_the_results(workshed, store, words):
    store("a", due="3 days")

    done = workshed("scheduled", *words, "a", "nothing")

    assert done.code == 5
    assert [line.split()[0] for line in done.lines] == ["a", "nothing"]
    assert done.err == "workshed: unknown: nothing\n"


def test_an_unknown_id_is_not_shown(workshed):
    done = workshed("scheduled", "show", "nothing", "--json")

    assert (done.code, done.out) == (5, "")
    assert "no waiting job has the id 'nothing'" in done.err
