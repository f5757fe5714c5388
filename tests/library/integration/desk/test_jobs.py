"""The page of jobs: finished and running jobs, by filters in the address."""

import json
import re
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from tests.library.integration.console.conftest import bury, env, ran, store
from workshed.console.web.pages import jobs
from workshed.jobs.control import workers
from workshed.jobs.control.workers import WorkerIdentity

__all__ = ["bury", "env", "ran", "store"]

SINCE = datetime.now(UTC) - timedelta(minutes=5)


@pytest.fixture
def runs_now(conn):
    """`runs_now([{"message_id": …}])`: the running jobs that a worker reported at its last beat."""

    def say(told, beat="0 s"):
        process = WorkerIdentity(uuid4(), "web-1", 77, 8, "r5")
        workers.record_heartbeat(conn, process, 1, [])
        query = """
            UPDATE workshed.workers
               SET running = %s::jsonb, beat_at = workshed.now() - %s::interval
             WHERE id = %s
        """
        conn.execute(query, (json.dumps(told), beat, process.id))

    return say


def job(message_id, **fields):
    usual = {"actor": "greet", "queue": "default", "since": SINCE.isoformat()}
    return {"message_id": message_id, **usual, **fields}


def ids(shown):
    return [run["message_id"] for run in shown["runs"]]


def test_without_a_run_the_page_shows_how_to_make_one(operator):
    text = operator.get("/jobs").text

    assert "workshed enqueue NAME" in text
    assert "No matching runs" in operator.get("/jobs?actor=nobody").text
    assert "No such job is running" in operator.get("/jobs?state=running").text


def test_runs_are_shown_the_latest_first(operator, ran):
    ran("a")
    ran("b", outcome="dead", error_class="OSError", reason="OSError: away", tags=["order-7"])

    shown, text = operator.json("/jobs"), operator.get("/jobs").text

    assert ids(shown) == ["b", "a"]
    assert shown["runs"][1]["call"] == "greet(user_id=7)"
    assert 'href="/job?id=b"' in text
    assert 'href="/jobs?tag=order-7"' in text
    assert "OSError: away" in text


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("actor=pay", ["pay"]),
        ("queue=low", ["low"]),
        ("outcome=retry", ["retry"]),
        ("outcome=failed", ["dead", "retry"]),
        ("error=OSError", ["retry"]),
        ("tag=order-7", ["tagged"]),
        ("parent=a", ["child"]),
        ("argument=user_id%3D8", ["eight"]),
        ("argument=user_id%3D%228%22", []),
        ("longer_than=1m", ["slow"]),
        ("since=1h&actor=pay", ["pay"]),
    ],
)
def test_filters_in_the_address_select_runs(operator, ran, query, found):
    ran("plain")
    ran("pay", actor="pay")
    ran("low", queue="low")
    ran("retry", outcome="retry", error_class="OSError")
    ran("dead", outcome="dead")
    ran("tagged", tags=["order-7"])
    ran("child", parent="a")
    ran("eight", arguments={"user_id": 8})
    ran("slow", duration_s=61.0)

    assert ids(operator.json(f"/jobs?{query}")) == found


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("argument=seven", "is not of the form NAME=VALUE"),
        ("argument=a%3D%22%5Cud800%22", "PostgreSQL cannot read a value"),
        ("argument=a%3D%22%5Cu0000%22", "PostgreSQL cannot read a value"),
        ("outcome=ded", "did you mean"),
        ("since=yesterday", "is neither a time"),
        ("since=99999999d", "is neither a time"),
        ("until=2026-11-26T14:02", "is neither a time"),
        ("before=7", "is not a position in the history"),
        ("before=99999999999999999.9999999999999999999", None),
    ],
)
def test_a_bad_filter_is_reported(operator, query, said):
    answer = operator.get(f"/jobs?{query}")

    assert answer.status_code == (400 if said else 200)
    assert said is None or said in answer.text


@pytest.fixture
def minutes(conn, ran):
    """Runs of the minutes from 9:00 to 9:04 of a day, each named for its second."""
    conn.execute("""
        CREATE TABLE workshed.runs_of_then PARTITION OF workshed.runs
           FOR VALUES FROM ('2026-11-26 00:00Z') TO ('2026-11-27 00:00Z')
    """)
    conn.execute(
        """
        INSERT INTO workshed.runs (recorded_at, message_id, generation, attempt, queue, actor,
                                   outcome, reason, sent_at, ended_at, worker, origin, release)
        SELECT '2026-11-26 09:00Z'::timestamptz + n * interval '1 s', n, 0, 1,
               CASE WHEN n % 4 = 0 THEN 'low' ELSE 'default' END,
               CASE WHEN n % 8 = 0 THEN 'pay' ELSE 'greet' END,
               CASE WHEN n % 40 = 0 THEN 'retry' WHEN n % 20 = 0 THEN 'snoozed'
               ELSE 'succeeded' END, '', now(), now(), 'web-1:77', 'send', ''
          FROM generate_series(0, 299) AS n
        """
    )


FROM_TO = "since=2026-11-26T09:01Z&until=2026-11-26T09:03Z"


def test_runs_are_filtered_from_one_time_to_another(operator, minutes):
    shown = operator.json(f"/jobs?{FROM_TO}&outcome=failed")
    exact = operator.json("/jobs?since=2026-11-26T09:01:40Z&until=2026-11-26T10:01:59%2B01:00")

    assert ids(shown) == ["160", "120", "80"]
    assert ids(exact) == [str(second) for second in range(118, 99, -1)]
    text = operator.get(f"/jobs?{FROM_TO}").text
    assert 'name="since" size="8" placeholder="2h" value="2026-11-26T09:01Z"' in text
    assert 'value="2026-11-26T09:03Z"' in text


def test_a_time_span_is_read_page_by_page(operator, minutes):
    found, address = [], f"/jobs?{FROM_TO}"
    while address:
        shown = operator.json(address)
        found += ids(shown)
        address = shown["older"] and f"/jobs?{FROM_TO}&before={shown['older']}"

    assert found == [str(second) for second in range(179, 59, -1)]


@pytest.mark.parametrize(
    ("filters", "counts"),
    [
        ("", {"all": 120, "succeeded": 114, "failed": 3}),
        ("&outcome=failed", {"all": 120, "succeeded": 114, "failed": 3}),
        ("&actor=pay", {"all": 15, "succeeded": 12, "failed": 3}),
        ("&queue=default", {"all": 90, "succeeded": 90, "failed": 0}),
        ("&actor=greet&queue=low", {"all": 15, "succeeded": 12, "failed": 0}),
    ],
)
@pytest.mark.parametrize("is_kept", [True, False], ids=["minutes", "rows"])
def test_the_runs_of_whole_minutes_are_counted_without_a_limit(
    operator, minutes, monkeypatch, env, filters, counts, is_kept
):
    """Others are counted among the latest only."""
    if is_kept:
        env(RUNS_RETENTION="36500d")
        monkeypatch.setattr(jobs, "MOST_SEARCHED", 2)
        monkeypatch.setattr(jobs, "MOST_COUNTED", 2)
    else:
        env(RUNS_RETENTION="1s")  # then minutes may have counts of rows that were deleted

    found = operator.json(f"/jobs?{FROM_TO}{filters}")["counts"]

    for name, count in counts.items():
        assert found[name] == {"count": count, "more": False}


def test_runs_that_are_only_counted_are_not_in_the_counts_of_a_list(operator, conn, minutes, env):
    conn.execute("UPDATE workshed.run_counts SET count = count + 1000 WHERE outcome = 'succeeded'")
    env(RUNS_RETENTION="36500d", HISTORY="failures")

    found = operator.json(f"/jobs?{FROM_TO}")["counts"]

    assert (found["all"]["count"], found["succeeded"]["count"], found["failed"]["count"]) == (
        6,
        0,
        3,
    )


def test_the_history_is_read_page_by_page(operator, ran, monkeypatch):
    monkeypatch.setattr(jobs, "ROWS", 2)
    for name in "abcde":
        ran(name)

    first = operator.json("/jobs?queue=default")
    second = operator.json(f"/jobs?queue=default&before={first['older']}")
    last = operator.json(f"/jobs?queue=default&before={second['older']}")

    assert [ids(shown) for shown in (first, second, last)] == [["e", "d"], ["c", "b"], ["a"]]
    assert last["older"] is None
    assert f"before={first['older']}" in operator.get("/jobs?queue=default").text


@pytest.mark.parametrize("query", ["tag=rare", "actor=greet&tag=rare", "outcome=retry&tag=rare"])
def test_a_look_reads_some_runs_and_the_next_continues_from_there(
    operator, ran, monkeypatch, query
):
    """Otherwise a filter without an index would read the whole history."""
    monkeypatch.setattr(jobs, "MOST_SEARCHED", 2)
    ran("rare", tags=["rare"], outcome="retry")
    for number in range(6):
        ran(str(number), outcome="retry")

    looks = [operator.json(f"/jobs?{query}")]
    while older := looks[-1]["older"]:
        looks.append(operator.json(f"/jobs?{query}&before={older}"))

    assert [ids(shown) for shown in looks] == [[], [], ["rare"]]
    assert looks[0]["looked_down_to"] is not None
    text = operator.get(f"/jobs?{query}").text
    assert "were searched" in text
    assert "look=far" in text
    assert ids(operator.json(f"/jobs?{query}&look=far")) == ["rare"]


def test_the_states_are_counted(operator, ran, store, bury, runs_now):
    ran("a")
    ran("b", outcome="retry")
    ran("c", outcome="dead")
    store("w")
    bury("d")
    runs_now([job("r")])

    counts = operator.json("/jobs")["counts"]

    assert {name: one["count"] for name, one in counts.items()} == {
        "running": 1,
        "all": 3,
        "succeeded": 1,
        "failed": 2,
        "waiting": 1,
        "dead": 1,
    }
    assert not any(one["more"] for one in counts.values())


def test_counts_stop_at_a_limit(operator, ran, store, monkeypatch):
    for name in "abc":
        ran(name)
        store(name)
    monkeypatch.setattr(jobs, "MOST_COUNTED", 2)

    counts = operator.json("/jobs")["counts"]

    assert counts["all"] == counts["waiting"] == {"count": 2, "more": True}
    assert operator.json("/jobs?actor=greet")["counts"]["waiting"] is None


def test_running_jobs_are_shown(operator, runs_now):
    runs_now([job("slow", since=(SINCE - timedelta(hours=1)).isoformat()), job("a", queue="low")])
    runs_now([job("gone")], beat="1 minute")

    shown, text = operator.json("/jobs?state=running"), operator.get("/jobs?state=running").text

    assert [one["message_id"] for one in shown["running"]] == ["slow", "a"]
    assert shown["running"][1]["worker"] == "web-1:77"
    assert re.search(r"\d[mh] ago", text)
    assert len(operator.json("/jobs?state=running&queue=low")["running"]) == 1


def test_unreadable_reports_of_a_worker_are_left_out(operator, runs_now):
    unclear = [None, [], "x", {}, job(7), job("x", since=None), job("x", since="now"), job("a")]
    runs_now(unclear)
    runs_now({"not": "a list"})

    shown = operator.json("/jobs?state=running")

    assert [one["message_id"] for one in shown["running"]] == ["a"]


def test_text_from_outside_is_escaped(operator, ran):
    evil = "<script>alert(1)</script>"
    ran(evil, actor=evil, queue=evil, tags=[evil], arguments={"a": evil}, reason=evil, parent=evil)

    text = operator.get("/jobs?parent=%3Cscript%3Ealert(1)%3C/script%3E&tag=" + evil).text

    assert "&lt;script&gt;alert(1)" in text
    assert "<script>alert" not in text
