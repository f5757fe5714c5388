"""Unique: which job has which key, which key has no job, and the release of a key."""

from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from tests.library.integration.console.conftest import store
from tests.library.integration.desk.conftest import quoted
from workshed.jobs.control import audit, queues
from workshed.jobs.control.queues import KnownActor
from workshed.jobs.locks import run_locks, unique
from workshed.settings import settings
from workshed.transport.amqp import topology

__all__ = ["store"]


@pytest.fixture
def lock(conn):
    """`lock("m")`: a message has the key of its name."""

    def take(message_id, queue="default", actor="resize", **fields):
        claim = unique.KeyClaim(f"resize:{message_id}", message_id, 0, actor, queue, **fields)
        unique.acquire_key(conn, claim)

    return take


@pytest.fixture
def management(broker, servers, rabbitmq, monkeypatch):
    """The management API of the test's RabbitMQ, named by the environment."""
    parts = urlsplit(servers.broker_url)
    usual = f"http://{parts.netloc.rpartition('@')[0]}@{parts.hostname}:15672"
    monkeypatch.setenv("WORKSHED_MANAGEMENT_URL", servers.management_url or usual)
    settings.cache_clear()
    return rabbitmq


def keys(page_data):
    return [one["key"] for one in page_data["keys"]]


def marked(operator, key):
    """Return the value of the checkbox of a key."""
    [found] = [one["id"] for one in operator.json("/unique")["keys"] if one["key"] == key]
    return found


def test_keys_are_listed_with_their_jobs(operator, lock, conn):
    lock("a")
    run_locks.acquire_lock(
        conn, run_locks.RunLock("sync:7", uuid4(), "b", 0, "sync", "low", "web-1", 77)
    )

    shown = operator.json("/unique")
    text = operator.get("/unique").text

    assert keys(shown) == ["resize:a", "sync:7"]
    assert [one["kind"] for one in shown["keys"]] == ["alive", "running"]
    assert (shown["keys"][0]["is_orphaned"], shown["unjudged"]) == (None, None)
    assert '<a href="/job?id=a">resize</a>' in text
    assert "web-1:77" in text
    assert text.count('name="id"') == 1  # a lease ends by itself
    assert keys(operator.json("/unique?actor=sync")) == ["sync:7"]
    assert keys(operator.json("/unique?key=resize:")) == ["resize:a"]


def test_an_actor_is_found_by_its_beginning(operator, lock, conn):
    queues.declare_actors(conn, [KnownActor("resize", "default")])
    lock("a")
    run_locks.acquire_lock(
        conn, run_locks.RunLock("resize:7", uuid4(), "b", 0, "resize", "low", "web-1", 77)
    )

    assert keys(operator.json("/unique?actor=res")) == ["resize:a", "resize:7"]
    assert keys(operator.json("/unique?actor=other")) == []
    assert '<option value="resize">' in operator.get("/unique").text


def test_without_a_key_the_page_says_so(operator):
    assert operator.json("/unique")["keys"] == []
    assert "unique=Unique(" in operator.get("/unique").text
    assert "No matching keys" in operator.get("/unique?actor=stranger").text


def test_each_key_is_on_one_page_even_if_many_are_held_since_the_same_moment(operator, lock, conn):
    """The page merges keys of both kinds."""
    for number in range(40):
        lock(f"{number:02}")
        lock(f"{'éZa_'[number % 4]}{number}")
        turn = run_locks.RunLock(f"Sync:{number}", uuid4(), "b", 0, "sync", "low", "web-1", 77)
        run_locks.acquire_lock(conn, turn)
    conn.execute("UPDATE workshed.unique_locks SET acquired_at = '2026-01-01T00:00Z'")
    conn.execute("UPDATE workshed.run_locks SET acquired_at = '2026-01-01T00:00Z'")

    found, query = [], ""
    while query is not None:
        shown = operator.json(f"/unique?{query}")
        found += keys(shown)
        query = None if shown["newer"] is None else f"before={quoted(shown['newer'])}"

    assert found == sorted(found)
    assert len(found) == 120


def test_a_key_is_orphaned_if_its_job_has_no_row_and_its_queue_is_empty(
    management, broker, operator, lock, store, eventually
):
    broker.ensure_queues({"default", "low"})
    lock("purged")
    lock("waits in RabbitMQ", queue="low")
    lock("waits here")
    store("waits here")
    with topology.open_connection(broker.urls, 60) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish("", "low", b"x")
    eventually(lambda: management.depth("low") == 1)

    shown = operator.json("/unique?orphaned=1")
    text = operator.get("/unique?orphaned=1").text

    assert keys(shown) == ["resize:purged"]
    assert shown["keys"][0]["is_orphaned"] is True
    assert shown["unjudged"] == 1
    assert 'data-state="orphaned"' in text
    assert "1 more have no row" in text
    assert keys(operator.json("/unique?orphaned=1&actor=other")) == []
    assert "No orphaned keys" in operator.get("/unique?orphaned=1&actor=other").text


@pytest.mark.usefixtures("broker")
def test_orphaned_keys_are_shown_as_unknown_if_rabbitmq_does_not_answer(
    operator, lock, monkeypatch
):
    monkeypatch.setenv("WORKSHED_MANAGEMENT_URL", "http://guest:secret@127.0.0.1:9")
    settings.cache_clear()
    lock("a")

    shown = operator.json("/unique?orphaned=1")
    text = operator.get("/unique?orphaned=1").text

    assert (shown["keys"], shown["unjudged"]) == ([], None)
    assert "could not be determined" in text
    assert "No orphaned keys" not in text
    assert "secret" not in text


def test_a_key_is_released_after_a_confirmation(operator, lock, conn):
    lock("a")
    box = marked(operator, "resize:a")

    asked = operator.post("/unique/release", {"id": box}).text
    assert "This would release 1 key. A job that is still running may then overlap" in asked
    assert unique.get_unique_lock(conn, "resize:a")
    assert audit.list_entries(conn) == []

    said = operator.submit("/unique/release", {"id": box, "sure": "yes"})

    assert said == "resize:a: released."
    assert unique.get_unique_lock(conn, "resize:a") is None
    [entry] = audit.list_entries(conn)
    assert (entry.action, entry.count) == ("unique.release", 1)
    assert entry.details == {"keys": [["resize:a", "a"]]}


def test_a_retry_since_the_page_was_shown_changes_nothing(operator, lock, conn):
    lock("a")
    box = marked(operator, "resize:a")
    unique.move_locks(conn, "a", 3)

    assert operator.submit("/unique/release", {"id": box, "sure": "yes"}) == "resize:a: released."


def test_the_key_of_another_job_is_left_alone(operator, lock, conn):
    lock("a")
    box = marked(operator, "resize:a")
    unique.release_locks(conn, "a", 0)
    unique.acquire_key(conn, unique.KeyClaim("resize:a", "later", 0, "resize", "default"))

    said = operator.submit("/unique/release", {"id": box})

    assert said == "resize:a: now held by another job."
    assert unique.get_unique_lock(conn, "resize:a").message_id == "later"


@pytest.mark.parametrize("box", ["resize:a", '["resize:a"]', '["resize:a", null]'])
def test_an_invalid_checkbox_value_is_refused(operator, lock, conn, box):
    lock("a")

    assert operator.post("/unique/release", {"id": box, "sure": "yes"}).status_code == 400
    assert unique.get_unique_lock(conn, "resize:a")


def test_text_from_outside_is_escaped(operator, lock):
    lock('"><b>a</b>', actor="<i>resize</i>")

    text = operator.get("/unique").text

    assert "&lt;b&gt;a&lt;/b&gt;" in text
    for tag in ("<b>", "<i>"):
        assert tag not in text


def test_a_reader_has_no_buttons(reader, lock):
    lock("a")

    text = reader.get("/unique").text

    assert "resize:a" in text
    assert "Release selected" not in text
