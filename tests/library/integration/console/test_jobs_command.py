"""The history: `workshed jobs`, `workshed job ID`, `workshed erase`."""

import re
from datetime import timedelta

import orjson
import pytest

from tests.library.integration.console.conftest import SENT
from workshed.jobs.control import queues
from workshed.jobs.control.queues import KnownActor
from workshed.jobs.dead import dead_jobs
from workshed.jobs.history import attempts, results, runs
from workshed.jobs.outbox import schedule

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""


@pytest.fixture(autouse=True)
def _database(database):
    """Every command here uses the database of the test."""


def ids(result):
    return [run["message_id"] for run in result.json]


# workshed jobs


def test_runs_are_listed_the_latest_first(workshed, ran):
    ran("a")
    ran("b", outcome="dead", error_class="OSError", reason="OSError: away")

    done = workshed("jobs")

    assert done.code == 0
    assert [line.split()[0] for line in done.lines] == ["message", "b", "OSError:", "a"]
    assert done.lines[2].split() == ["OSError:", "away"]
    row = done.lines[1].split()
    assert re.fullmatch(r"\d+s", row.pop(3))  # how long ago it ended
    assert row == ["b", "greet(user_id=7)", "dead", "ago", "250ms", "1.8s"]
    assert ids(workshed("jobs", "--json")) == ["b", "a"]


def test_a_misspelt_actor_is_named(workshed, conn, ran):
    queues.declare_actors(conn, [KnownActor("greet", "default")])
    ran("a")

    assert "the actor 'gret' (did you mean 'greet'?)." in workshed("jobs", "--actor", "gret").err


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--actor", "pay"], ["pay"]),
        (["--queue", "low"], ["low"]),
        (["--outcome", "retry"], ["retry"]),
        (["--outcome", "retry", "--outcome", "dead"], ["dead", "retry"]),
        (["--failed"], ["dead", "retry"]),
        (["--error", "OSError"], ["retry"]),
        (["--tag", "order-7"], ["tagged"]),
        (["--parent", "a"], ["child"]),
        (["--argument", "user_id=8"], ["eight"]),
        (["--argument", 'user_id="7"'], []),
        (["--longer-than", "1m"], ["slow"]),
        (["--since", "1h", "--actor", "pay"], ["pay"]),
    ],
)
def test_filters_select_runs(workshed, ran, words, found):
    ran("plain")
    ran("pay", actor="pay")
    ran("low", queue="low")
    ran("retry", outcome="retry", error_class="OSError")
    ran("dead", outcome="dead")
    ran("tagged", tags=["order-7"])
    ran("child", parent="a")
    ran("eight", arguments={"user_id": 8})
    ran("slow", duration_s=61.0)

    assert ids(workshed("jobs", "--json", *words)) == found


def test_runs_are_ordered_by_the_time_of_recording(workshed, ran, conn):
    ran("old")
    conn.execute("UPDATE workshed.runs SET recorded_at = recorded_at + interval '1 day'")
    ran("new")
    conn.execute("UPDATE workshed.runs SET recorded_at = workshed.now() + interval '2 hours' "
                 "WHERE message_id = 'new'")  # fmt: skip

    assert ids(workshed("jobs", "--json", "--since", "1s")) == ["old", "new"]
    assert workshed("jobs", "--limit", "1").err.startswith("There are more")


def test_an_unknown_outcome_is_refused_with_the_likely_one(workshed):
    done = workshed("jobs", "--outcome", "retried")

    assert done.code == 2
    assert "did you mean" in done.err
    assert "retry" in done.err


def test_lost_runs_are_reported(workshed, conn):
    """Otherwise jobs whose runs are missing would look as if they had never run."""
    runs.record_dropped(conn, "web-1:77", 12)

    assert "12 runs were not recorded" in workshed("jobs").err


def test_history_is_deleted_by_whole_days(conn, ran):
    ran("a")
    conn.execute("CREATE TABLE workshed.runs_2026_01_31 PARTITION OF workshed.runs "
                 "FOR VALUES FROM ('2026-01-31 00:00Z') TO ('2026-02-01 00:00Z')")  # fmt: skip
    conn.execute(
        "INSERT INTO workshed.runs SELECT (r).* FROM (SELECT r FROM workshed.runs AS r) AS r"
    )
    conn.execute("UPDATE workshed.runs SET message_id = 'old', recorded_at = '2026-01-31 12:00Z' "
                 "WHERE ctid = (SELECT max(ctid) FROM workshed.runs)")  # fmt: skip

    dropped = runs.prune_runs(conn, timedelta(days=30), 10)

    assert dropped == 1
    assert [run.message_id for run in runs.list_runs(conn)] == ["a"]


# workshed job ID


def test_a_job_is_shown_as_a_timeline(workshed, ran):
    ran("a", outcome="retry", error_class="OSError", error="away", reason="OSError: away",
        retry_in_s=15.0, parent="p", origin="transaction", tags=["order-7"], release="r5",
        traceback="Traceback …\nOSError: away\n")  # fmt: skip
    later = {"started": SENT + timedelta(seconds=17), "ended": SENT + timedelta(seconds=18)}
    ran("a", generation=1, attempt=2, queue_wait_s=0.004, duration_s=1.0, **later)

    done = workshed("job", "a")

    assert [line.rstrip() for line in done.lines] == [
        "message id  a",
        "state       succeeded",
        "actor       greet",
        "queue       default",
        "job         greet(user_id=7)",
        "",
        "2026-11-25 09:00:00.000  sent       in a transaction, by job p",
        "2026-11-25 09:00:00.250  started    attempt 1 on web-1:77, after 250ms in",
        " " * 36 + "default",
        "2026-11-25 09:00:02.000  retry      ran for 1.8s; again in 15s; OSError: away",
        "2026-11-25 09:00:17.000  started    attempt 2 on web-1:77, after 4ms in default",
        "2026-11-25 09:00:18.000  succeeded  ran for 1s",
        "",
        "Traceback …",
        "OSError: away",
    ]
    timeline = workshed("job", "a", "--json").json["timeline"]
    assert [event["what"] for event in timeline] == [
        "sent",
        "started",
        "retry",
        "started",
        "succeeded",
    ]


def test_a_periodic_run_says_so(workshed, ran):
    ran("a", origin="cron")

    assert "sent       by its schedule" in workshed("job", "a").out


def test_runs_that_the_history_has_lost_are_shown_from_the_attempts(workshed, conn, ran):
    """Runs may be lost, but a failed attempt never is."""
    ran("a", generation=1, attempt=2, outcome="dead", reason="OSError: away")
    for generation, outcome in ((0, "retry"), (1, "dead")):
        attempts.record_attempt(
            conn,
            message_id="a",
            generation=generation,
            attempt=generation + 1,
            queue="default",
            actor="greet",
            outcome=outcome,
            reason="OSError: away",
            error=attempts.describe_error(None),
        )

    timeline = workshed("job", "a", "--json").json["timeline"]

    assert sorted(event["what"] for event in timeline) == ["dead", "retry", "sent", "started"]


def test_the_timeline_of_a_waiting_job_ends_with_its_due_time(workshed, store):
    store("a", due="1 hour")

    done = workshed("job", "a", "--json").json

    assert done["state"] == "scheduled"
    assert [event["what"] for event in done["timeline"]] == ["sent", "due"]


def test_secrets_are_shown_nowhere(workshed, conn, store, bury):
    """The message must contain them for the job to run, but people need not see them."""
    queues.declare_actors(
        conn, [KnownActor("greet", "default", parameters=["code"], redact=["code"])]
    )
    store("waits")
    bury("died", actor="greet")
    conn.execute("UPDATE workshed.schedule SET body = replace(body, '[7]', '[\"canary\"]')")
    conn.execute(
        "UPDATE workshed.dead SET body = "
        "convert_to(replace(convert_from(body, 'UTF8'), '[7]', '[\"canary\"]'), 'UTF8')"
    )

    shown = [
        workshed(*words, *form).out
        for words in (
            ("scheduled",),
            ("scheduled", "show", "waits"),
            ("dead",),
            ("dead", "show", "died"),
            ("job", "waits"),
            ("job", "died"),
        )
        for form in ((), ("--json",))
    ]

    assert "canary" not in "".join(shown)
    assert all("[redacted]" in text for text in shown)


# workshed erase


@pytest.fixture
def ada(ran, conn, store):
    """Rows of all kinds about ada@example.org, and as many about another person."""
    queues.declare_actors(
        conn, [KnownActor("invite", "default", parameters=["address", "user_id"])]
    )
    for number, name in enumerate(("ada", "bob"), 7):
        address = f"{name}@example.org"
        arguments = {"address": address, "user_id": number}
        ran(f"{name} done", actor="invite", arguments=arguments, tags=[f"user-{number}"])
        ran(f"{name} failed", actor="invite", outcome="dead", error=f"no {address}",
            reason=f"OSError: no {address}", arguments=arguments)  # fmt: skip
        fields = {
            "queue_name": "default",
            "actor_name": "invite",
            "args": [address, number],
            "kwargs": {},
            "options": {"tags": [f"user-{number}"]},
            "message_id": f"{name} dead",
            "message_timestamp": 1_700_000_000_000,
        }
        dead_jobs.add_dead_job(
            conn,
            message_id=f"{name} dead",
            generation=0,
            attempt=1,
            queue="default",
            actor="invite",
            body=orjson.dumps(fields),
            reason="OSError",
        )
        for key, body in ((f"django-task:{name} done", {"value": name}), (name, {"to": address})):
            results.store_result(conn, key, orjson.dumps(body), timedelta(days=1))
        row = schedule.OutboxRow(
            f"{name} waits", 0, "default", "invite", orjson.dumps(fields).decode(), "delayed"
        )
        schedule.insert_row(conn, row, delay=timedelta(hours=1))
        attempts.record_attempt(
            conn,
            message_id=f"{name} failed",
            generation=0,
            attempt=1,
            queue="default",
            actor="invite",
            outcome="dead",
            reason=f"OSError: no {address}",
            error=attempts.describe_error(None),
        )


@pytest.mark.parametrize(
    "words",
    [["ada@example.org"], ["--argument", "user_id=7"], ["--argument", "address=ada@example.org"]],
)
def test_a_persons_data_are_erased_from_all_records(workshed, conn, ada, words):
    of_text = {"ada"} if "--argument" in words else set()  # a result does not name arguments

    done = workshed("erase", *words, "--yes", "--json")

    assert done.json == {"runs": 2, "attempts": 1, "dead": 1, "waiting": 1, "erased": True}
    for query in (
        "SELECT r::text FROM workshed.runs AS r",
        "SELECT a::text FROM workshed.attempts AS a",
        "SELECT convert_from(body, 'UTF8') FROM workshed.dead",
    ):
        held = conn.execute(query).fetchall()
        assert "ada@example.org" not in str(held)
        assert "bob" in str(held)
    kept = {key for (key,) in conn.execute("SELECT key FROM workshed.results")}
    assert kept == {"django-task:bob done", "bob", *of_text}
    assert workshed("job", "ada failed", "--json").json["state"] == "dead"
    assert workshed("job", "ada dead", "--json").json["state"] == "discarded"
    assert [row.message_id for row in dead_jobs.list_dead_jobs(conn)] == ["bob dead"]


def test_jobs_with_a_tag_are_found(workshed, ada):
    done = workshed("erase", "--tag", "user-7", "--dry-run", "--json")

    assert done.json == {"runs": 1, "attempts": 0, "dead": 1, "waiting": 1, "erased": False}


def test_a_dry_run_and_a_question_without_a_terminal_change_nothing(workshed, conn, ada):
    before = runs.list_runs(conn)

    assert workshed("erase", "ada@example.org", "--dry-run").code == 0
    assert workshed("erase", "ada@example.org").code == 2
    assert runs.list_runs(conn) == before
    assert len(dead_jobs.list_dead_jobs(conn)) == 2


def test_data_with_quotes_are_found_in_their_json_form(workshed, ran, conn):
    ran("a", arguments={"name": 'Ada "the first"'})

    assert workshed("erase", 'Ada "the first"', "--yes", "--json").json["runs"] == 1


@pytest.mark.parametrize("words", [[], ["7"], ["--argument", "user_id"]])
def test_an_ambiguous_selection_is_refused(workshed, words):
    assert workshed("erase", *words, "--yes").code == 2
