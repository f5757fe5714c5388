"""Queues on PostgreSQL alone: the page and the overview have the figures of the tables."""

import re

import dramatiq
import pytest

from tests.library.integration.console.conftest import bury, store
from workshed.jobs.control import audit, queues
from workshed.jobs.history import attempts

__all__ = ["bury", "store"]


@pytest.fixture
def transport():
    """Jobs are rows."""
    return "postgresql"


@pytest.fixture
def known(broker, conn):
    """Workers have declared the queues."""
    queues.declare_queues(
        conn, {queue.name: queue.kind for queue in broker.declared_queues.values()}
    )
    return broker


@pytest.fixture
def fill(known, store, bury, conn):
    """Of `emails`, two jobs are due, one runs, one is due later, and one is dead."""
    store("due", queue="emails", due="-2 hours", reason="transactional")
    store("due too", queue="emails", due="-1 minute", reason="retry")
    store("later", queue="emails")
    store("runs", queue="emails", due="-3 hours")
    bury("dead", queue="emails")
    worker = conn.execute("""
        INSERT INTO workshed.workers (id, host, pid, threads, release, busy, queues,
                                      oldest_waiting, oldest_held)
        VALUES (gen_random_uuid(), 'web-1', 77, 8, '', 1, '{emails}', '{NULL}', '{NULL}')
        RETURNING id
    """).fetchone()[0]
    conn.execute(
        "UPDATE workshed.schedule SET claimed_by = %s, claimed_at = workshed.now() "
        "WHERE message_id = 'runs'",
        (worker,),
    )


def by_name(browser, path="/queues"):
    return {one["name"]: one for one in browser.json(path)["queues"]}


def test_each_queue_shows_how_much_waits_and_for_how_long(operator, fill):
    emails, bulk = (by_name(operator)[name] for name in ("emails", "bulk"))

    assert (emails["ready"], emails["unacked"], emails["workers"]) == (2, 1, 1)
    assert (emails["waiting"], emails["dead"], emails["dead_queue"]) == (1, 1, None)
    assert (emails["kind"], emails["weight"], emails["levels"]) == ("classic", 1, 4)
    assert 7200 <= emails["oldest"] < 7260
    assert (bulk["ready"], bulk["unacked"], bulk["waits"], bulk["oldest"]) == (0, 0, False, None)
    assert emails["ui"] is None
    text = operator.get("/queues").text
    assert 'aria-label="Purge emails"' in text
    assert 'aria-label="Purge bulk"' not in text


def test_the_overview_shows_the_same(operator, fill):
    shown = operator.json("/")
    emails = {one["name"]: one for one in shown["queues"]}["emails"]

    assert (emails["ready"], emails["workers"], emails["waits"]) == (2, 1, True)
    assert 7200 <= emails["oldest"] < 7260
    [relay] = [one for one in shown["problems"] if "relay" in one["message"]]
    assert "published" not in relay["message"]


def test_the_age_is_not_the_bound_that_an_earlier_rabbitmq_left(operator, fill, conn):
    conn.execute(
        "UPDATE workshed.queues SET oldest_possible_publish_at = workshed.now() - interval '3 days'"
    )

    assert by_name(operator)["emails"]["oldest"] < 7260
    assert by_name(operator, "/")["emails"]["oldest"] < 7260


@pytest.mark.parametrize(
    "path", ["/", "/queues", "/workers", "/scheduled", "/unique", "/unique?orphaned=1", "/job/gone"]
)
def test_no_page_speaks_of_rabbitmq(operator, fill, path):
    text = operator.get(path).text

    assert "RabbitMQ" not in re.sub("<title>.*</title>", "", text)
    assert "? (unknown)" not in text


def test_due_jobs_are_purged_and_recorded_and_the_others_stay(operator, fill, broker, conn):
    message = dramatiq.Message("emails", "greet", (7,), {}, {})
    broker.enqueue(message)

    answer = operator.post("/queues/purge", {"name": "emails"})
    assert "This would discard 3 jobs of emails. Each is recorded as cancelled" in answer.text
    assert "Left for later: 1 job" in answer.text
    said = operator.submit("/queues/purge", {"name": "emails", "sure": "yes"})

    assert said == "3 jobs of emails discarded. Left for later: 1 job."
    rows = conn.execute("SELECT message_id FROM workshed.schedule ORDER BY 1").fetchall()
    assert rows == [("later",), ("runs",)]
    [row] = attempts.list_job_attempts(conn, message.message_id)
    assert (row.outcome, row.reason) == ("cancelled", "purged by an operator")
    (entry,) = audit.list_entries(conn)
    assert (entry.action, entry.count, entry.details) == ("queues.purge", 3, {"queue": "emails"})
    assert by_name(operator)["emails"]["ready"] == 0


def test_a_key_without_a_row_is_orphaned_at_once(operator, known, conn):
    conn.execute(
        "INSERT INTO workshed.unique_locks (key, message_id, generation, actor, queue) "
        "VALUES ('greet 7', 'lost', 0, 'greet', 'emails')"
    )

    [key] = operator.json("/unique?orphaned=1")["keys"]

    assert key["key"] == "greet 7"
