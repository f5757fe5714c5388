"""The page of a job: its history and its actions."""

import html
from datetime import UTC, datetime, timedelta
from urllib.parse import quote
from uuid import uuid4

import orjson
import pytest

from tests.library.integration.console.conftest import SENT, bury, ran, store
from tests.library.integration.desk.test_jobs import job, runs_now
from workshed.jobs.batches import batches
from workshed.jobs.control import cancellations, queues
from workshed.jobs.control.queues import KnownActor
from workshed.jobs.dead import dead_jobs
from workshed.jobs.history import attempts
from workshed.jobs.locks import unique
from workshed.jobs.locks.unique import KeyClaim
from workshed.jobs.outbox import schedule
from workshed.settings import settings

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""

__all__ = ["bury", "ran", "runs_now", "store"]


@pytest.fixture
def audit(conn):
    """`audit()`: the recorded actions, with their counts."""
    return lambda: conn.execute("SELECT action, count FROM workshed.audit ORDER BY id").fetchall()


def whats(page_data):
    return [event["what"] for event in page_data["timeline"]]


def attempt(conn, message_id, **fields):
    usual = {
        "message_id": message_id,
        "generation": 0,
        "attempt": 1,
        "queue": "default",
        "actor": "greet",
        "outcome": "retry",
        "reason": "OSError: away",
    }
    attempts.record_attempt(conn, **{**usual, **fields})


# What the page shows


def test_an_unknown_job_may_be_on_rabbitmq(operator):
    answer = operator.get("/job?id=nothing")

    assert answer.status_code == 404
    assert (
        "no job &#39;nothing&#39; in PostgreSQL: it is on RabbitMQ, was never sent, "
        "or ended long ago" in answer.text
    )
    assert operator.get("/job").status_code == 404


def test_each_event_is_shown_with_its_duration(operator, ran):
    ran("a", outcome="retry", error_class="OSError", error="away", reason="OSError: away",
        retry_in_s=15.0, parent="p", origin="transaction", tags=["order-7"], release="r5",
        traceback="Traceback …\nOSError: away\n")  # fmt: skip
    later = {"started": SENT + timedelta(seconds=17), "ended": SENT + timedelta(seconds=18)}
    ran("a", generation=1, attempt=2, queue_wait_s=0.004, duration_s=1.0, parent="p", **later)

    shown, text = operator.json("/job?id=a"), operator.get("/job?id=a").text

    assert (shown["state"], shown["call"], shown["parent"]) == (
        "succeeded",
        "greet(user_id=7)",
        "p",
    )
    assert whats(shown) == ["sent", "started", "retry", "started", "succeeded"]
    assert [event["after_s"] for event in shown["timeline"]] == [None, 0.25, 1.75, 15.0, 1.0]
    assert [(one["attempt"], one["outcome"]) for one in shown["attempts"]] == [
        (1, "retry"),
        (2, "succeeded"),
    ]
    assert "after 250ms" in text
    assert "Traceback …\nOSError: away" in text
    assert 'href="/job?id=p"' in text
    assert shown["may"] == {"cancel": False, "run": False, "retry": False}


def test_a_delay_is_shown_once_unless_it_was_moved(operator, store, conn):
    store("kept", due="1 hour")
    store("moved", due="2 hours")
    due = round((datetime.now(UTC) + timedelta(hours=1)).timestamp() * 1000)
    query = "UPDATE workshed.schedule SET body = replace(body, '\"options\":{', %s)"
    conn.execute(query, (f'"options":{{"due":{due},',))

    assert whats(operator.json("/job?id=kept")) == ["sent", "due"]
    assert whats(operator.json("/job?id=moved")) == ["sent", "due", "due"]


def test_an_attempt_that_is_in_both_tables_is_shown_once(operator, ran, conn):
    """Runs may be lost, but a failed attempt never is."""
    error = attempts.describe_error(ValueError("no"))
    ran("a", generation=1, attempt=2, outcome="dead", reason="ValueError: no")
    attempt(conn, "a")
    attempt(conn, "a", generation=1, attempt=2, outcome="dead", error=error)

    found = operator.json("/job?id=a")["attempts"]

    assert sorted((one["attempt"], one["outcome"]) for one in found) == [
        (1, "retry"),
        (2, "dead"),
    ]
    assert sorted(one["error_class"] or "" for one in found) == ["", "ValueError"]


def test_a_job_can_be_sent_again_with_the_copied_command(operator, ran, store):
    ran("succeeded", arguments={"user_id": 7, "why": "it's"})
    store("waits")

    done, waits = operator.json("/job?id=succeeded"), operator.json("/job?id=waits")
    text = operator.get("/job?id=waits").text

    assert done["send"] == 'greet.send(user_id=7, why="it\'s")'
    assert done["command"] == "workshed enqueue greet user_id=7 'why=it'\"'\"'s'"
    assert (waits["send"], waits["command"]) == ("greet.send(7)", "workshed enqueue greet 7")
    assert '<code data-copy="the call in Python">greet.send(7)</code>' in text
    assert waits["body"]["message_id"] == "waits"


def test_secrets_are_shown_nowhere(operator, conn, store, bury):
    """Neither in a message inside the message, nor in a key that is made of them."""
    queues.declare_actors(
        conn, [KnownActor("pay", "default", parameters=["card"], redact=["card"])]
    )
    piped = {"actor_name": "pay", "args": ["canary"], "kwargs": {}, "options": {}}
    options = {"unique_key": 'pay:["canary"]'}
    store("waits", actor="pay", **options)
    store("first", actor="greet", pipe_target=piped)
    store("group", actor="greet", group_completion_callbacks=[piped])
    secret = {"actor_name": "pay", "args": ["canary"], "kwargs": {}, "options": options}
    bury("died", actor="pay", body=orjson.dumps(secret))
    bury("unread", actor=None, body=orjson.dumps(secret))
    conn.execute("UPDATE workshed.schedule SET body = replace(body, '[7]', '[\"canary\"]') "
                 "WHERE actor = 'pay'")  # fmt: skip
    unique.acquire_key(conn, KeyClaim('pay:["canary"]', "other", 0, "pay", "default"))
    ids = ["waits", "first", "group", *(one.message_id for one in dead_jobs.list_dead_jobs(conn))]

    shown = [operator.get(f"/job{form}?id={quote(name)}").text
             for name in ids for form in ("", ".json")]  # fmt: skip

    assert len(ids) == 5
    assert "canary" not in "".join(shown)
    assert all("[redacted]" in text for text in shown)


def test_a_unique_job_shows_which_job_has_its_key(operator, conn, store):
    store("a", unique_key="greet:[7]", awaiting_unique_key=True)
    store("b", unique_key="greet:[8]")
    store("c", unique_key="greet:[9]")
    unique.acquire_key(conn, KeyClaim("greet:[7]", "other", 0, "greet", "default"))
    unique.acquire_key(conn, KeyClaim("greet:[8]", "b", 0, "greet", "default"))

    keys = {name: operator.json(f"/job?id={name}")["keys"] for name in "abc"}

    assert {name: [(k["key"], k["holder"]) for k in one] for name, one in keys.items()} == {
        "a": [("greet:[7]", "other")],
        "b": [("greet:[8]", "b")],
        "c": [("greet:[9]", None)],
    }
    assert 'href="/job?id=other"' in operator.get("/job?id=a").text
    assert "this job" in operator.get("/job?id=b").text
    assert "no job" in operator.get("/job?id=c").text


def test_a_job_of_a_batch_leads_to_it(operator, conn, store):
    batch = str(uuid4())
    conn.execute(*batches.open_statement(batch, "mails", {}))
    conn.execute(*batches.join_statement(batch, ["a"]))
    store("a", batch=batch)

    assert operator.json("/job?id=a")["batch"]["state"] == "pending"
    assert f'href="/batch?id={batch}"' in operator.get("/job?id=a").text


def test_a_job_leads_to_the_jobs_it_has_sent(operator, ran, monkeypatch):
    monkeypatch.setattr("workshed.console.web.pages.job.ROWS", 1)
    ran("a")
    ran("b", parent="a", outcome="retry")
    ran("b", parent="a", generation=1)

    shown, text = operator.json("/job?id=a"), operator.get("/job?id=a").text

    assert [(one["message_id"], one["outcome"]) for one in shown["children"]] == [
        ("b", "succeeded")
    ]
    assert 'href="/job?id=b"' in text
    ran("c", parent="a")
    assert operator.json("/job?id=a")["more_children"]
    assert 'href="/jobs?parent=a"' in operator.get("/job?id=a").text


def test_links_lead_to_its_trace_and_its_errors(operator, ran, monkeypatch):
    monkeypatch.setenv("WORKSHED_TRACE_LINK", "https://traces.example/{trace}")
    monkeypatch.setenv("WORKSHED_SENTRY_LINK", "https://sentry.example/?q=id:{message_id}&x={0}")
    settings.cache_clear()
    ran("a/&<b", trace="0" * 31 + "7")

    links = operator.json("/job?id=a%2F%26%3Cb")["links"]

    assert links == {
        "trace": "https://traces.example/00000000000000000000000000000007",
        "sentry": "https://sentry.example/?q=id:a%2F%26%3Cb&x={0}",
    }


def test_a_traceback_leads_to_the_repository(operator, ran, monkeypatch):
    link = "/srv/shop=https://git.example/blob/{release}/{path}#L{line}"
    monkeypatch.setenv("WORKSHED_SOURCE_LINK", link)
    settings.cache_clear()
    frame = 'File "/srv/shop/pay.py", line 12, in <b>'
    text = f"Traceback (most recent call last):\n  {frame}\n    charge()\nGatewayError: no answer"
    ran("a", outcome="dead", traceback=text, release="r42")

    page = html.unescape(operator.get("/job?id=a").text)

    assert f'<a href="https://git.example/blob/r42/pay.py#L12">  {frame}</a>\n    charge()' in page


def test_a_running_job_shows_where_it_runs(operator, runs_now, store, conn):
    began = datetime.now(UTC) - timedelta(minutes=5)
    runs_now([job("a", since=began.isoformat())])

    shown = operator.json("/job?id=a")

    assert (shown["state"], shown["actor"]) == ("running", "greet")
    assert shown["timeline"][0]["details"] == "on web-1:77; running"


def test_a_job_that_has_ended_since_its_workers_beat_does_not_run(operator, runs_now, ran):
    runs_now([job("a", since=SENT.isoformat())])
    ran("a")

    assert operator.json("/job?id=a")["state"] == "succeeded"


def test_an_unreadable_message_may_say_anything(operator, bury, dead_of):
    evil = "<script>alert(1)</script>\x1b[31m"
    bodies = [
        orjson.dumps({"message_timestamp": 1 << 62, "options": {"due": 1 << 62, "tags": 7}}),
        orjson.dumps({"message_timestamp": 0, "options": {"trace": [], "parent": {}, "due": -1}}),
        orjson.dumps({"actor_name": evil, "args": [evil], "kwargs": {evil: evil}}),
        orjson.dumps([evil]),
        evil.encode(),
        b"\xff\xfe\0",
    ]
    for body in bodies:
        bury(evil, actor=None, queue=evil, reason=evil, body=body)

    answers = [operator.get(f"/job?id={quote(name)}") for name in dead_of()]

    assert [answer.status_code for answer in answers] == [200] * len(bodies)
    assert not any("<script>alert" in answer.text for answer in answers)
    assert not any("\x1b" in answer.text for answer in answers)
    assert 'action="/job/retry"' not in answers[0].text


@pytest.fixture
def dead_of(conn):
    """`dead_of()`: the ids of the dead jobs."""
    return lambda: [one.message_id for one in dead_jobs.list_dead_jobs(conn)]


# Actions


def test_a_reader_sees_no_buttons(reader, store):
    store("a")

    assert 'action="/job' not in reader.get("/job?id=a").text


def test_a_waiting_job_can_be_made_due_now(operator, store, conn, audit):
    store("a", due="1 hour")
    assert 'action="/job/run"' in operator.get("/job?id=a").text

    said = operator.submit("/job/run", {"id": "a"})

    assert said == "a: moved. Due now."
    assert operator.json("/job?id=a")["state"] == "scheduled"
    assert conn.execute("SELECT due_at <= workshed.now() FROM workshed.schedule").fetchone() == (
        True,
    )
    assert audit() == [("scheduled.run", 1)]


def test_a_job_on_its_way_is_left_alone(operator, store, audit):
    store("a", reason="outbox_lease")

    assert operator.submit("/job/run", {"id": "a"}) == "a: on its way."
    assert audit() == [("scheduled.run", 0)]


def test_a_cancel_asks_first(operator, store, conn, audit):
    store("a", due="1 hour")

    asked = operator.post("/job/cancel", {"id": "a"})

    assert asked.status_code == 200
    assert "would cancel a. It is waiting, due in 1h; it would be deleted." in asked.text
    assert len(schedule.list_scheduled(conn)) == 1
    assert not cancellations.is_cancelled(conn, "a")
    assert audit() == []


def test_a_cancelled_job_is_deleted(operator, store, conn, audit):
    store("a")

    said = operator.submit("/job/cancel", {"id": "a", "sure": "yes"})

    assert said == "a: deleted."
    assert schedule.list_scheduled(conn) == []
    assert operator.json("/job?id=a")["state"] == "cancelled"
    assert audit() == [("job.cancel", 1)]


def test_a_running_job_is_asked_to_stop(operator, runs_now, conn):
    runs_now([job("a")])

    asked = operator.post("/job/cancel", {"id": "a"}).text
    said = operator.submit("/job/cancel", {"id": "a", "sure": "yes"})

    assert "It is running; it would be asked to stop" in asked
    assert "asked to stop within 2 s" in said
    assert cancellations.is_cancelled(conn, "a")


def test_a_dead_job_cannot_be_cancelled(operator, bury, conn):
    bury("a")

    answer = operator.post("/job/cancel", {"id": "a", "sure": "yes"})

    assert answer.status_code == 409
    assert "is dead and will not run" in answer.text
    assert not cancellations.is_cancelled(conn, "a")


def test_a_dead_job_is_retried(operator, bury, conn, audit):
    bury("a")
    assert 'action="/job/retry"' in operator.get("/job?id=a").text

    said = operator.submit("/job/retry", {"id": "a"})

    assert said == "a: retried."
    assert operator.json("/job?id=a")["state"] == "scheduled"
    assert (dead_jobs.list_dead_jobs(conn), audit()) == ([], [("dead.retry", 1)])


@pytest.mark.parametrize(("action", "state"), [("run", "waiting"), ("retry", "dead")])
def test_a_job_that_is_gone_by_now_is_reported(operator, action, state, audit):
    answer = operator.post(f"/job/{action}", {"id": "a"})

    assert answer.status_code == 404
    assert f"a: no longer {state}. Another operator" in answer.text
    assert audit() == []


@pytest.mark.parametrize("action", ["run", "retry", "cancel"])
def test_a_form_without_an_id_does_nothing(operator, action, audit):
    assert operator.post(f"/job/{action}", {"sure": "yes"}).status_code == 404
    assert audit() == []


def test_an_id_may_hold_any_character(operator, store):
    name = "a/b?c=d&e#f é+<g>%20"
    store(name)

    answer = operator.post("/job/run", {"id": name})

    assert operator.json(f"/job?id={quote(name, safe='')}")["id"] == name
    assert f"/job?id={quote(name, safe='').replace('%20', '+')}" in answer.headers["location"]
    assert operator.get(answer.headers["location"]).status_code == 200
