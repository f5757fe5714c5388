"""Queues: how much waits where, and pause and purge."""

import re
from datetime import timedelta

import dramatiq
import pytest

from tests.library.integration.console.conftest import bury, env, management, store, tarpit
from workshed.console.rabbitmq import purge as purging
from workshed.console.web.pages import queues as page
from workshed.console.web.view import cache
from workshed.jobs.control import audit, queues
from workshed.jobs.history import attempts
from workshed.transport.amqp import topology

__all__ = ["bury", "env", "management", "store", "tarpit"]


@pytest.fixture
def known(broker, transport, conn):
    """The queues exist, and workers have declared them."""
    if transport == "rabbitmq":
        broker.ensure_queues(set(broker.declared_queues))
    queues.declare_queues(
        conn, {queue.name: queue.kind for queue in broker.declared_queues.values()}
    )
    return broker


@pytest.fixture
def send(request, known, transport, eventually):
    """`send("emails", 3)`: put jobs into a queue and wait until they are ready; their messages."""

    def send(queue, count=1):
        messages = [dramatiq.Message(queue, "greet", (7,), {}, {}) for _ in range(count)]
        if transport == "postgresql":
            return known.enqueue_many(messages)
        rabbitmq = request.getfixturevalue("rabbitmq")
        before = rabbitmq.depth(queue)
        with topology.open_connection(known.urls) as connection:
            channel = connection.channel()
            for message in messages:
                channel.basic_publish("", queue, message.encode())
        eventually(lambda: rabbitmq.depth(queue) == before + count)
        cache.status_cache.clear()
        return messages

    return send


def by_name(browser):
    return {one["name"]: one for one in browser.json("/queues")["queues"]}


def test_each_queue_shows_how_much_waits_where_and_for_how_long(operator, send, store, bury, conn):
    send("emails", 3)
    store("a", queue="emails")
    bury("b", queue="emails")
    conn.execute(
        "UPDATE workshed.queues "
        "SET oldest_possible_publish_at = oldest_possible_publish_at - interval '1 hour'"
    )

    emails, bulk = (by_name(operator)[name] for name in ("emails", "bulk"))

    assert (emails["ready"], emails["waiting"], emails["dead"]) == (3, 1, 1)
    assert (emails["kind"], emails["weight"], emails["levels"]) == ("classic", 1, 4)
    assert 3600 <= emails["oldest"] < 3660
    assert (bulk["ready"], bulk["oldest"], bulk["ui"]) == (0, None, None)
    assert (emails["waits"], bulk["waits"]) == (True, False)
    text = operator.get("/queues").text
    assert ">1h" in text
    assert "0 to 4" in text
    assert '<a href="/dead?queue=emails">1</a>' in text
    assert 'aria-label="Purge emails"' in text
    assert 'aria-label="Purge bulk"' not in text


def test_due_rows_in_postgresql_wait_too(operator, known, store):
    store("a", queue="low", due="-2 hours")

    assert 7200 <= by_name(operator)["low"]["oldest"] < 7260


def test_each_queue_links_to_the_ui_of_rabbitmq_without_a_password(
    operator, known, management, rabbitmq, servers
):
    ui = by_name(operator)["emails"]["ui"]

    assert ui.endswith(f"/#/queues/{rabbitmq.vhost}/emails")
    assert "@" not in ui
    assert f'href="{ui}"' in operator.get("/queues").text
    assert by_name(operator)["emails"]["unacked"] == 0


def test_with_rabbitmq_away_the_page_says_so_and_shows_the_rest(
    operator, known, store, monkeypatch
):
    store("a", queue="emails")
    monkeypatch.setattr(known, "urls", ["amqp://ada:secret@127.0.0.1:9/"])

    shown, text = operator.json("/queues"), operator.get("/queues").text

    assert by_name(operator)["emails"]["waiting"] == 1
    assert by_name(operator)["emails"]["ready"] is None
    assert "RabbitMQ does not answer at 127.0.0.1:9" in shown["problems"][0]
    assert 'class="banner"><strong>Error:</strong> RabbitMQ does not answer' in text
    assert "secret" not in text


def test_no_waiting_job_differs_from_an_unknown_number(operator, known, monkeypatch):
    idle = cells(operator)
    monkeypatch.setattr(known, "urls", ["amqp://127.0.0.1:9/"])
    cache.status_cache.clear()

    unknown, text = cells(operator), operator.get("/queues").text

    assert idle["bulk"][1:3] == ["none", "0"]
    assert unknown["bulk"][1:5] == 4 * ["? (unknown)"]
    assert by_name(operator)["bulk"]["waits"] is None
    assert "<dt>?</dt><dd>Unknown: RabbitMQ was not asked" in text
    assert "\N{EN DASH}" not in re.sub("<title>.*</title>", "", text)


def cells(browser):
    """Return the texts of the table of queues, by queue."""
    rows = re.findall(
        r'<tr [^>]*data-id="([^"]+)">(.*?)</tr>', browser.get("/queues").text, re.DOTALL
    )
    return {
        name: [
            re.sub("<[^>]+>", "", cell).strip()
            for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL)
        ]
        for name, row in rows
    }


def test_the_page_waits_once_and_not_for_long_for_silent_servers(
    operator, known, env, tarpit, monkeypatch
):
    """However long each server may take, the page must not: it has a limit of its own."""
    monkeypatch.setattr(cache, "AMQP_S", 0.2)
    monkeypatch.setattr(cache, "API_S", 0.1)
    monkeypatch.setattr(known, "urls", [f"amqp://ada:secret@{tarpit}/"])
    env(MANAGEMENT_URL=f"http://ada:secret@{tarpit}")

    first, second = operator.json("/queues"), operator.json("/queues")

    assert len(first["problems"]) == 2
    assert "did not answer in time" in first["problems"][0]
    assert second["problems"] == first["problems"]


def test_a_page_waits_four_seconds_at_most():
    assert cache.AMQP_S + 2 * cache.API_S <= 4


def test_one_process_asks_for_depths_every_five_seconds(operator, send, rabbitmq):
    send("emails")
    assert by_name(operator)["emails"]["ready"] == 1
    with_one = cache.status_cache._answers.copy()

    assert by_name(operator)["emails"]["ready"] == 1

    assert cache.status_cache._answers == with_one


# Pause


def test_a_queue_is_paused_until_it_is_resumed(operator, known, conn):
    said = operator.submit("/queues/pause", {"name": "emails"})

    assert said.startswith("emails: paused. Within 2 s, workers start no more of its jobs")
    assert queues.list_paused(conn) == {"emails"}
    text = operator.get("/queues").text
    assert 'data-state="paused"' in text
    assert 'aria-label="Resume emails"' in text

    said = operator.submit("/queues/resume", {"name": "emails"})
    assert said == "emails: resumed. Takes effect within 2 s."
    assert queues.list_paused(conn) == set()
    assert [(one.action, one.details) for one in audit.list_entries(conn)] == [
        ("queues.resume", {"queues": ["emails"]}),
        ("queues.pause", {"queues": ["emails"]}),
    ]


@pytest.mark.parametrize("verb", ["pause", "resume", "purge"])
def test_an_unknown_queue_is_reported(operator, known, conn, verb):
    answer = operator.post(f"/queues/{verb}", {"name": "emials"})

    assert answer.status_code == 404
    assert "did you mean" in answer.text
    assert audit.list_entries(conn) == []


# Purge


def test_a_purge_first_asks_and_says_how_many(operator, send, store, rabbitmq, conn, eventually):
    send("emails", 2)
    store("a", queue="emails")

    answer = operator.post("/queues/purge", {"name": "emails"})

    assert answer.status_code == 200
    assert "This would discard 2 jobs of emails. Each is recorded as cancelled" in answer.text
    assert "Left in PostgreSQL: 1 job" in answer.text
    assert "Discard 2 jobs of emails</button>" in answer.text
    eventually(lambda: rabbitmq.depth("emails") == 2)
    assert audit.list_entries(conn) == []


def test_purged_jobs_are_recorded_and_gone(operator, send, rabbitmq, conn, eventually):
    first, second = send("emails", 2)
    send("bulk")

    said = operator.submit("/queues/purge", {"name": "emails", "sure": "yes"})

    assert said == "2 jobs of emails discarded."
    eventually(lambda: rabbitmq.depth("emails") == 0)
    eventually(lambda: rabbitmq.depth("bulk") == 1)
    for message in (first, second):
        [row] = attempts.list_job_attempts(conn, message.message_id)
        assert (row.outcome, row.reason) == ("cancelled", "purged by an operator")
    (entry,) = audit.list_entries(conn)
    assert (entry.action, entry.count, entry.details) == ("queues.purge", 2, {"queue": "emails"})
    assert by_name(operator)["emails"]["ready"] == 0


def test_a_purge_of_many_jobs_stops_at_a_limit_and_says_how_many_are_left(
    operator, send, monkeypatch
):
    monkeypatch.setattr(page, "MOST_PER_CLICK", 2)
    send("emails", 3)

    said = operator.submit("/queues/purge", {"name": "emails", "sure": "yes"})

    assert said == "2 jobs of emails discarded. Still ready there: 1 job; purge again."


def test_a_purge_that_fails_is_recorded_as_far_as_it_came(operator, send, conn, monkeypatch):
    """Otherwise half a queue would be gone, without a record of the person who did it."""
    send("emails", 3)
    purge = purging.purge_queue

    def break_off(broker, conn, name, limit, counts, _step):
        purge(broker, conn, name, 1, counts)
        monkeypatch.setattr(broker, "urls", ["amqp://ada:secret@127.0.0.1:9/"])
        purge(broker, conn, name, limit - 1, counts)

    monkeypatch.setattr(purging, "purge_queue", break_off)
    said = operator.submit("/queues/purge", {"name": "emails", "sure": "yes"})

    assert said.startswith("1 job of emails discarded. Interrupted: RabbitMQ does not")
    assert [one.count for one in audit.list_entries(conn)] == [1]


def test_a_purge_of_an_empty_queue_needs_no_confirmation(operator, known):
    assert operator.submit("/queues/purge", {"name": "emails"}) == "0 jobs of emails discarded."


def test_a_queue_of_another_program_is_shown_as_far_as_it_is_known(operator, known, store):
    store("a", queue="<b>x")

    one = by_name(operator)["<b>x"]

    assert (one["kind"], one["weight"], one["ready"], one["waiting"]) == (None, None, None, 1)
    text = operator.get("/queues").text
    assert "<b>x" not in text
    assert "/scheduled?queue=%3Cb%3Ex" in text


def test_an_unknown_wait_is_not_shown_as_none(known, conn):
    state = page.queue_states.merge_queue_states(
        conn,
        known.declared_queues,
        ["emails"],
        page.queue_states.QueueCounts({}, {}),
        cache.BrokerStatus(),
    )[0]

    for ages in ({"emails": (timedelta(hours=1), None)}, {}):
        assert page.oldest_job(state, ages) == {"waits": None, "oldest": None}


def test_with_a_prefix_only_our_queues_are_shown(env, request, rabbitmq, eventually):
    """Another program in the virtual host has a queue of the same name."""
    env(QUEUE_PREFIX="shop.")
    broker, operator = (request.getfixturevalue(name) for name in ("known", "operator"))
    with topology.open_connection(broker.urls, 60) as connection:
        channel = connection.channel()
        channel.queue_declare("emails", durable=True)
        message = dramatiq.Message("emails", "greet", (7,), {}, {})
        for name in ("emails", "shop.emails", "shop.emails"):
            channel.basic_publish("", name, message.encode())
    eventually(lambda: rabbitmq.depth("shop.emails") == 2)

    ready = by_name(operator)["emails"]["ready"]
    said = operator.submit("/queues/purge", {"name": "emails", "sure": "yes"})

    assert ready == 2
    assert said == "2 jobs of emails discarded."
    eventually(lambda: (rabbitmq.depth("shop.emails"), rabbitmq.depth("emails")) == (0, 1))
