"""Scheduled: waiting jobs are shown, made due, moved and cancelled."""

import re
from uuid import uuid4

import pytest

from tests.library.integration.console.conftest import store
from tests.library.integration.desk.conftest import quoted
from workshed.jobs.control import audit, cancellations, queues
from workshed.jobs.control.queues import KnownActor
from workshed.jobs.outbox import claims, schedule

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""

__all__ = ["store"]


def ids(page_data):
    return [one["message_id"] for one in page_data["jobs"]]


def due_in(conn, message_id):
    query = """
        SELECT extract(epoch FROM due_at - workshed.now()) FROM workshed.schedule
         WHERE message_id = %s
    """
    return conn.execute(query, (message_id,)).fetchone()[0]


# The list


def test_the_next_due_job_is_first_with_its_call_its_reason_and_its_state(operator, store, conn):
    store("later", due="3 days", queue="bulk", reason="retry", generation=1)
    store("sooner", due="2 hours")
    store("taken", due="-1 s")
    claims.claim_due(conn, uuid4(), 10)

    taken, sooner, later = operator.json("/scheduled")["jobs"]

    assert (taken["message_id"], taken["state"]) == ("taken", "on its way")
    assert (sooner["call"], sooner["state"], sooner["queue"]) == (
        "greet(7)",
        "scheduled",
        "default",
    )
    assert (later["why"], later["body"]["args"]) == ("failed, will be retried", [7])
    text = operator.get("/scheduled").text
    assert '<a href="/job?id=sooner">greet(7)</a>' in text
    assert "failed, will be retried" in text
    assert ">in 2h</time>" in text


def test_without_a_waiting_job_the_page_says_so(operator):
    assert operator.json("/scheduled") == {"jobs": [], "count": 0, "later": None}
    assert "send_with_options(delay=…)" in operator.get("/scheduled").text


def test_filters_select_jobs(operator, store):
    store("a", actor="greet", queue="bulk")
    store("b", actor="wave")

    assert ids(operator.json("/scheduled?actor=wave")) == ["b"]
    assert ids(operator.json("/scheduled?queue=bulk")) == ["a"]
    assert operator.json("/scheduled?queue=bulk")["count"] == 1
    assert "No matching jobs" in operator.get("/scheduled?actor=stranger").text


def test_an_actor_is_found_by_its_beginning(operator, store, conn):
    queues.declare_actors(conn, [KnownActor(name, "default") for name in ("greet", "greet_all")])
    store("a", actor="greet")
    store("b", actor="greet_all")

    assert ids(operator.json("/scheduled?actor=gree")) == ["a", "b"]
    assert operator.json("/scheduled?actor=greet*")["count"] == 2
    assert ids(operator.json("/scheduled?actor=greet")) == ["a"]
    assert '<option value="greet_all">' in operator.get("/scheduled").text


def test_each_job_is_on_one_page_even_if_many_are_due_at_once(operator, store, conn):
    """This includes claimed rows, which another index finds."""
    for number in range(120):
        store(f"job-{number:03}", generation=number % 2)
    at_once = (
        "UPDATE workshed.schedule SET due_at = '2026-01-01T00:00Z' WHERE message_id < 'job-110'"
    )
    conn.execute(at_once)
    claims.claim_due(conn, uuid4(), 70)

    found, query = [], ""
    while query is not None:
        shown = operator.json(f"/scheduled?queue=default{query}")
        found += ids(shown)
        query = None if shown["later"] is None else f"&before={quoted(shown['later'])}"

    assert found == sorted(found)
    assert len(found) == 120


def test_the_next_page_is_a_link(operator, store):
    for number in range(51):
        store(f"job-{number}")

    text = operator.get("/scheduled?actor=greet").text
    address = re.search(r'rel="next" href="([^"]+)">Due later', text)[1].replace("&amp;", "&")

    assert "actor=greet" in address
    assert "Next due" in operator.get(f"/scheduled{address}").text


@pytest.mark.parametrize(
    "before",
    [
        "yesterday",
        "{}",
        "[]",
        '["2026-01-01T00:00Z","a"]',
        '["2026-01-01T00:00","a",0]',
        '["2026-01-01T00:00Z","a\\u0000",0]',
        '["2026-01-01T00:00Z","\\ud800",0]',
        '["2026-01-01T00:00Z","a",4294967296]',
        '["2026-01-01T00:00Z","a",true]',
        "[" * 2_000,
    ],
)
def test_an_invalid_page_position_is_refused(operator, before):
    answer = operator.client.get("/scheduled", params={"before": before})

    assert answer.status_code == 400
    assert "start again" in answer.text


def test_redacted_arguments_are_shown_nowhere(operator, store, conn):
    queues.declare_actors(
        conn, [KnownActor("greet", "default", parameters=["code"], redact=["code"])]
    )
    store("a")

    [job] = operator.json("/scheduled")["jobs"]

    assert job["call"] == 'greet("[redacted]")'
    assert job["body"]["args"] == ["[redacted]"]
    assert "greet(7)" not in operator.get("/scheduled").text


def test_text_from_outside_is_escaped(operator, store):
    store("<b>a</b>", actor="<i>greet</i>", queue='"><script>')

    text = operator.get("/scheduled?actor=<i>greet</i>").text

    assert "&lt;b&gt;a&lt;/b&gt;" in text
    for tag in ("<b>", "<i>", '"><script>'):
        assert tag not in text


def test_an_id_that_cannot_be_displayed_is_sent_back_unchanged(operator, store, conn):
    odd = "a\x1b[31m\u202eb"
    store(odd)

    text = operator.get("/scheduled").text
    box = re.search(r'type="checkbox" name="id" value="([^"]+)"', text)[1]
    button = re.search(r'/scheduled/run" name="id" value="([^"]+)"', text)[1]

    assert box == button == odd
    assert operator.submit("/scheduled/run", {"id": box}).endswith(": moved. Due now.")


def test_a_reader_has_no_buttons(reader, store):
    store("a")

    text = reader.get("/scheduled").text

    assert "greet(7)" in text
    assert "Run now" not in text
    assert "checkbox" not in text.split("<dialog")[0]


# Run and move


def test_selected_jobs_are_made_due_now(operator, store, conn):
    for name in ("a", "b", "c"):
        store(name)
    store("taken", due="-1 s")
    claims.claim_due(conn, uuid4(), 1)

    fields = [("id", "a"), ("id", "b"), ("id", "taken"), ("id", "gone")]
    said = operator.submit("/scheduled/run", fields)

    assert said == "Jobs: 2 moved, 1 no longer waiting, 1 on its way. Due now."
    assert due_in(conn, "a") <= 0 < due_in(conn, "c")
    [entry] = audit.list_entries(conn)
    assert (entry.action, entry.count, entry.performed_by) == ("scheduled.run", 2, "olga")
    assert entry.details == {"ids": ["a", "b"]}


def test_jobs_are_moved_by_a_span_or_to_a_time(operator, store, conn):
    store("a")

    operator.submit("/scheduled/move", {"id": "a", "in": "1d2h"})
    assert due_in(conn, "a") == pytest.approx(26 * 3600, abs=60)

    said = operator.submit("/scheduled/move", {"id": "a", "at": "2100-01-01T00:00"})
    assert said == "a: moved. Due at 2100-01-01 00:00:00 UTC."
    assert schedule.list_scheduled(conn)[0].due_at.isoformat() == "2100-01-01T00:00:00+00:00"

    operator.submit("/scheduled/move", {"id": "a", "at": "2100-01-01T00:00+01:00"})
    assert schedule.list_scheduled(conn)[0].due_at.isoformat() == "2099-12-31T23:00:00+00:00"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"in": "soon"},
        {"at": "soon"},
        {"in": "2h", "at": "2100-01-01T00:00"},
        {"in": "9999999d"},
        {"in": "9" * 20 + "d"},
        {"at": "0001-01-01T00:00+05:00"},
    ],
)
def test_an_ambiguous_time_moves_nothing(operator, store, conn, fields):
    store("a")

    answer = operator.post("/scheduled/move", {"id": "a", **fields})

    assert answer.status_code == 400
    assert due_in(conn, "a") == pytest.approx(3600, abs=60)
    assert audit.list_entries(conn) == []


@pytest.mark.parametrize("action", ["run", "move", "cancel"])
def test_an_empty_selection_is_reported(operator, action):
    answer = operator.post(f"/scheduled/{action}", {"in": "2h"})

    assert answer.status_code == 400
    assert "select some rows" in answer.text


def test_the_list_is_shown_again_with_its_filters(operator, store):
    store("a")

    there = operator.post("/scheduled/run", {"id": "a", "query": "?queue=default"})
    elsewhere = operator.post("/scheduled/run", {"id": "a", "query": "//evil.example"})

    assert there.headers["location"].startswith("/scheduled?queue=default&done=")
    assert elsewhere.headers["location"].startswith("/scheduled?done=")


# Cancel


def test_a_cancel_asks_first_and_says_what_would_happen_to_each_job(operator, store, conn):
    store("a")
    store("taken", due="-1 s")
    claims.claim_due(conn, uuid4(), 1)

    asked = operator.post("/scheduled/cancel", [("id", "a"), ("id", "taken"), ("id", "gone")])

    assert asked.status_code == 200
    assert (
        "This would cancel 2 jobs. 1 job would be deleted. "
        "1 job would be skipped when started, or asked to stop."
    ) in asked.text
    assert 'name="id" value="taken"' in asked.text
    assert len(schedule.list_scheduled(conn)) == 2
    assert not cancellations.is_cancelled(conn, "taken")
    assert audit.list_entries(conn) == []


def test_a_confirmed_cancel_is_done(operator, store, conn):
    store("a")
    store("b")

    said = operator.submit("/scheduled/cancel", {"id": "a", "sure": "yes"})

    assert said == "a: deleted."
    assert [row.message_id for row in schedule.list_scheduled(conn)] == ["b"]
    [entry] = audit.list_entries(conn)
    assert (entry.action, entry.count, entry.details) == ("scheduled.cancel", 1, {"ids": ["a"]})


def test_a_cancel_of_jobs_that_no_longer_wait_asks_nothing(operator, conn):
    answer = operator.post("/scheduled/cancel", {"id": "gone"})

    assert answer.status_code == 404
    assert (
        "gone: no longer waiting. Another operator or a relay "
        "has already handled it." in answer.text
    )
    assert not cancellations.is_cancelled(conn, "gone")
