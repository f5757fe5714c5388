"""`workshed dead`: list, show, retry and discard."""

import re
from dataclasses import replace
from uuid import uuid4

import orjson
import pytest

from tests.library.integration.console.conftest import body
from workshed.console.cli.terminal.bulk import run_operation
from workshed.console.operations import dead_jobs as operations
from workshed.console.operations.operation import Preview
from workshed.errors import WorkshedError
from workshed.jobs.control import audit, queues
from workshed.jobs.control.queues import KnownActor
from workshed.jobs.dead import dead_jobs
from workshed.jobs.history import attempts
from workshed.jobs.locks import unique
from workshed.jobs.outbox import schedule
from workshed.transport.errors import EnvelopeError, SignatureError

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""


@pytest.fixture(autouse=True)
def _servers(broker):
    """Every command here uses the database and the RabbitMQ of the test."""


def ids(conn):
    return {row.message_id for row in dead_jobs.list_dead_jobs(conn)}


# List


def test_the_latest_job_is_first_with_its_call_and_its_error(workshed, bury, conn):
    first, last = str(uuid4()), str(uuid4())
    bury(first, actor="remind_customer_who_never_came_back", error=TimeoutError("no"))
    conn.execute("UPDATE workshed.dead SET died_at = died_at - interval '2 hours'")
    bury(last)

    done = workshed("dead")

    assert done.code == 0
    assert [line.split()[0] for line in done.lines[1::2]] == [last, first]
    _, call, age, ago = done.lines[1].split()
    assert (call, ago) == ("greet(7)", "ago")
    assert re.fullmatch(r"\d+s", age)
    assert done.lines[2].split()[0] == "ValueError:"
    assert done.lines[3].endswith("2h ago")
    assert max(map(len, done.lines)) <= 80


def test_json_output_is_the_rows_only(workshed, bury):
    bury("a")
    bury("b", actor=None, body=b"\x00\xff", reason="not JSON")

    unreadable, readable = workshed("dead", "list", "--json").json

    assert (readable["message_id"], readable["body"]["args"]) == ("a", [7])
    assert (unreadable["body"], unreadable["body_base64"]) == (None, "AP8=")
    assert unreadable["message_id"].startswith("unreadable:")


def test_without_a_dead_job_the_list_says_so(workshed):
    done = workshed("dead")

    assert (done.code, done.out, done.err) == (0, "", "No dead jobs.\n")
    assert workshed("dead", "--json").json == []
    assert workshed("dead", "--group", "--json").json == []


@pytest.mark.parametrize(
    "options",
    [
        ("--queue", "bulk"),
        ("--actor", "wave"),
        ("--error", "TimeoutError"),
        ("--location", "shop/bills.py:2 in pay"),
        ("--since", "1h"),
    ],
)
def test_filters_select_jobs(workshed, bury, conn, options):
    bury("other")
    conn.execute("UPDATE workshed.dead SET died_at = died_at - interval '2 hours'")
    bury("wanted", queue="bulk", actor="wave", error=TimeoutError())
    conn.execute(
        "UPDATE workshed.dead SET error_location = 'shop/bills.py:2 in pay' "
        "WHERE message_id = 'wanted'"
    )

    rows = workshed("dead", "list", "--json", *options).json

    assert [row["message_id"] for row in rows] == ["wanted"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("--queue", "emials"),
            "No worker has declared the queue 'emials' (did you mean 'emails'?).",
        ),
        (("--actor", "gret"), "No worker has declared the actor 'gret' (did you mean 'greet'?)."),
        (
            ("--error", "ValueEror"),
            "No dead job has the error 'ValueEror' (did you mean 'ValueError'?).",
        ),
        (("--location", "shop.py:2 in pay"), "No dead job failed at 'shop.py:2 in pay'."),
    ],
)
@pytest.mark.parametrize("command", [("list",), ("discard", "--all", "--yes")])
def test_a_misspelt_filter_is_reported(workshed, bury, conn, command, words, said):
    """An empty list for an actor that does not exist would be misleading."""
    queues.declare_actors(conn, [KnownActor("greet", "default")])
    bury("a")

    assert said in workshed("dead", *command, *words).err.splitlines()
    assert "declared" not in workshed("dead", *command, "--queue", "bulk").err
    assert ids(conn) == {"a"}


def test_dead_jobs_are_counted_by_error(workshed, bury):
    for name in ("a", "b"):
        bury(name)
    bury("c", actor="wave", error=TimeoutError())

    done = workshed("dead", "--group")

    assert [line.split()[:3] for line in done.lines[1:]] == [
        ["ValueError", "2", "greet"],
        ["TimeoutError", "1", "wave"],
    ]
    [first, _] = workshed("dead", "--group", "--json").json
    assert (first["error_class"], first["count"], first["actors"]) == ("ValueError", 2, ["greet"])


def test_the_number_of_hidden_jobs_is_shown(workshed, bury):
    bury("a")
    bury("b")

    assert "1 of 2 shown" in workshed("dead", "--limit", "1").err


@pytest.mark.rabbitmq("RabbitMQ is away")
def test_the_list_works_while_rabbitmq_is_away(workshed, bury, env, broker, monkeypatch):
    bury("a")
    monkeypatch.setattr(broker, "urls", ["amqp://ada:secret@127.0.0.1:9/"])

    done = workshed("dead", "--json")

    assert (done.code, len(done.json)) == (0, 1)
    assert "dead queues were not checked: RabbitMQ does not answer at 127.0.0.1:9" in done.err
    assert "secret" not in done.err


def test_a_body_cannot_control_the_terminal(workshed, bury):
    """Any sender can write bodies and errors; an ESC would move the cursor."""
    bury("a", actor=None, body=b"\x1b[2J[bold]", reason="not JSON: \x1b]0;owned\x07")
    [row] = workshed("dead", "--json").json

    shown = workshed("dead", "show", row["message_id"]).out + workshed("dead").out

    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "\\x1b[2J[bold]" in shown


def test_a_deeply_nested_body_is_shown_as_text(workshed, bury):
    """Python's own parser would raise a RecursionError, and break the whole list."""
    body = b"[" * 5_000 + b"]" * 5_000
    bury("a", actor=None, body=body, reason="nested")
    [row] = workshed("dead", "--json").json

    assert row["body"] is None
    assert workshed("dead").code == workshed("dead", "show", row["message_id"]).code == 0


# Show


def test_a_job_is_shown_with_all_its_attempts(workshed, bury, conn):
    for number, outcome in ((1, "retry"), (2, "dead")):
        with pytest.raises(ZeroDivisionError) as failed:
            _ = number / 0
        attempts.record_attempt(
            conn,
            message_id="a",
            generation=number - 1,
            attempt=number,
            queue="default",
            actor="greet",
            outcome=outcome,
            reason=f"ZeroDivisionError: no {number}",
            error=attempts.describe_error(failed.value),
        )
    bury("a")

    done = workshed("dead", "show", "a")

    assert done.code == 0
    assert '"args": [' in done.out
    assert "attempt 1: retry" in done.out
    assert "attempt 2: dead" in done.out
    assert done.out.count("Traceback (most recent call last)") == 2
    assert "To retry it: `workshed dead retry a`" in done.err
    shown = workshed("dead", "show", "a", "--json").json
    assert [one["attempt"] for one in shown["attempts"]] == [1, 2]
    assert shown["body"]["message_id"] == "a"


def test_an_unknown_id_is_not_shown(workshed):
    done = workshed("dead", "show", "nothing", "--json")

    assert (done.code, done.out) == (5, "")
    assert "no dead job has the id 'nothing'" in done.err


# Retry


def test_a_job_is_retried_by_its_id(workshed, bury, conn):
    bury("a")
    bury("b")

    done = workshed("dead", "retry", "a")

    assert (done.code, done.out) == (0, "a  retried\n")
    assert ids(conn) == {"b"}
    assert [row.message_id for row in schedule.list_scheduled(conn)] == ["a"]


def test_all_matching_jobs_are_retried(workshed, bury, conn):
    bury("a")
    bury("b")
    bury("c", error=TimeoutError())

    done = workshed("dead", "retry", "--all", "--error", "ValueError", "--yes", "--json")

    assert done.code == 0
    assert done.json == [{"message_id": one, "answer": "retried"} for one in "ab"]
    assert done.err == "2 jobs retried.\n"
    assert ids(conn) == {"c"}


def test_an_unreadable_job_stays_and_the_others_are_retried(workshed, bury, conn):
    bury("a", actor=None, body=b"nonsense", reason="not JSON")
    bury("b")

    done = workshed("dead", "retry", "--all", "--yes")

    assert done.code == 1
    assert done.err.endswith("workshed: 1 of 2 not done: cannot be read\n")
    assert [row.message_id for row in schedule.list_scheduled(conn)] == ["b"]
    [left] = ids(conn)
    said = workshed("dead", "retry", left).err
    assert "send the job again with `workshed enqueue`, and discard this one" in said


@pytest.mark.parametrize("verb", ["retry", "discard"])
def test_without_a_terminal_yes_is_required(workshed, bury, conn, verb):
    bury("a")

    done = workshed("dead", verb, "--all")

    assert (done.code, done.out) == (2, "")
    assert f"{verb.title()} 1 job: no terminal to confirm at; use --yes" in done.err
    assert ids(conn) == {"a"}


@pytest.mark.parametrize(
    ("verb", "outcome_text", "notes"),
    [("retry", "retried", ""), ("discard", "discarded", "It can then no longer be retried.\n")],
)
def test_a_dry_run_shows_exactly_what_would_happen_and_changes_nothing(
    workshed, bury, conn, verb, outcome_text, notes
):
    bury("a")

    tried = workshed("dead", verb, "a", "--dry-run")

    assert (tried.code, tried.out) == (0, f"a  would be {outcome_text}\n")
    assert tried.err == f"{notes}1 job would be {outcome_text}.\n"
    assert ids(conn) == {"a"}
    assert schedule.list_scheduled(conn) == []
    assert attempts.list_job_attempts(conn, "a") == []


def test_a_dry_run_shows_how_many_jobs_would_wait_for_a_key(workshed, bury, conn):
    text = body("a", "greet", [7], "default", unique_key="k")
    unique.acquire_key(conn, unique.KeyClaim("k", "alive", 0, "greet", "default"))
    bury("a", body=text)
    bury("b")

    said = workshed("dead", "retry", "--all", "--dry-run").err.splitlines()

    waits = "1 of 2 jobs has a unique key that another job holds: it waits for it."
    assert said == [waits, "2 jobs would be retried."]


@pytest.mark.parametrize("verb", ["retry", "discard"])
@pytest.mark.parametrize("words", [(), ("a", "--all"), ("a", "--actor", "greet")])
def test_an_ambiguous_selection_is_refused(workshed, bury, conn, verb, words):
    """`retry ID --actor x` may mean either; a wrong guess would discard other jobs."""
    bury("a")

    assert workshed("dead", verb, *words, "--yes").code == 2
    assert ids(conn) == {"a"}


@pytest.mark.parametrize("verb", ["retry", "discard"])
def test_an_unknown_id_is_reported_next_to_the_results(workshed, bury, conn, verb):
    bury("a")

    done = workshed("dead", verb, "a", "nothing", "--yes")

    assert done.code == 5
    assert done.lines[1] == "nothing  unknown"
    assert ids(conn) == set()


def test_a_job_that_is_gone_after_a_filter_selected_it_is_no_mistake(bury, conn, capsys):
    bury("a")

    run_operation(conn, operations.RETRY, ["a", "b"], as_json=False, yes=True, is_filtered=True)

    assert capsys.readouterr().out == "a  retried\nb  no longer dead\n"
    assert audit.list_entries(conn)[0].summary == "a: retried; b: no longer dead."


def test_a_job_that_dies_after_the_preview_is_not_discarded_without_a_question(bury, conn):
    bury("a")
    discard = replace(operations.discard("mistake"), preview=lambda *_: Preview(0))

    with pytest.raises(WorkshedError, match="state has just changed"):
        run_operation(conn, discard, ["a"], as_json=False)

    assert ids(conn) == {"a"}


def test_a_preview_reads_a_limited_number_of_bodies(workshed, bury, monkeypatch):
    """100 000 bodies of 1 kB take 2.6 s before the question, and one may have a megabyte."""
    monkeypatch.setattr(operations, "MOST_PREVIEWED", 2)
    for name in "abc":
        bury(name, body=b"not JSON")

    asked = workshed("dead", "retry", "--all")

    assert asked.err.splitlines()[0] == (
        "2 jobs cannot be read and stay dead. Only the first 2 jobs were checked."
    )
    assert "Retry 1 job: no terminal" in asked.err


def test_all_without_a_match_asks_nothing(workshed):
    done = workshed("dead", "retry", "--all")

    assert (done.code, done.out, done.err) == (0, "", "0 jobs retried.\n")


# Discard


def test_a_discard_keeps_its_reason(workshed, bury, conn):
    bury("a")

    done = workshed("dead", "discard", "a", "--yes", "--reason", "sent by mistake")

    assert (done.code, done.out) == (0, "a  discarded\n")
    assert ids(conn) == set()
    assert [one.reason for one in attempts.list_job_attempts(conn, "a")] == ["sent by mistake"]


# Messages that could not be read when they were delivered


def test_a_job_that_this_release_can_read_is_retried(workshed, bury, conn):
    """An older worker met an option of this release; its job must not need publishing by hand."""
    text = body("mine", "greet", [7], "default", batch=str(uuid4()), generation=2)
    bury("it", actor=None, body=text, error=EnvelopeError("options.batch: is not an option"))

    dry = workshed("dead", "retry", "--all", "--error", "EnvelopeError", "--dry-run")
    done = workshed("dead", "retry", "--all", "--error", "EnvelopeError", "--yes")

    assert (dry.code, done.code) == (0, 0)
    assert dead_jobs.count_dead_jobs(conn) == 0
    [row] = schedule.list_scheduled(conn)
    assert (row.message_id, row.generation, row.actor, row.reason) == (
        "mine",
        3,
        "greet",
        "redriven",
    )
    assert orjson.loads(row.body)["options"]["attempt"] == 1


def test_a_job_that_this_release_cannot_read_either_stays(workshed, bury, conn):
    bury("it", actor=None, body=b"\x80pickled", error=EnvelopeError("not JSON"))

    done = workshed("dead", "retry", "--all", "--yes")

    assert done.code == 1
    assert dead_jobs.count_dead_jobs(conn) == 1


def test_an_unsigned_job_stays_even_if_it_can_be_read(workshed, bury, conn):
    """On a retry a relay would sign it."""
    bury(
        "it",
        actor=None,
        body=body("mine", "greet", [7], "default"),
        error=SignatureError("signature: is missing"),
    )

    done = workshed("dead", "retry", "--all", "--yes")

    assert done.code == 1
    assert dead_jobs.count_dead_jobs(conn) == 1
    assert schedule.list_scheduled(conn) == []
