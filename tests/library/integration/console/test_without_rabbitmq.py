"""Commands with PostgreSQL alone: they work from the tables, or say what to use instead."""

import importlib
from datetime import timedelta
from uuid import uuid4

import pytest

from tests.library.integration.taking.conftest import rows
from workshed.console.doctor import build_context, list_checks, run_checks, table_queue
from workshed.jobs.control import queues
from workshed.jobs.history import attempts
from workshed.jobs.outbox import relays, table_load
from workshed.metrics import meters
from workshed.transport.relay import table_depths
from workshed.transport.relay.table_depths import TableGauges

__all__ = ["rows"]
ACTORS = "tests.library.actors"


@pytest.fixture
def transport():
    """Jobs are rows."""
    return "postgresql"


@pytest.fixture
def examined(broker):
    """`examined()`: the findings of all checks now, by name."""
    importlib.import_module(ACTORS)

    def run():
        here = build_context((ACTORS,), 1, 8)
        return run_checks(here, list_checks(here))

    return run


@pytest.fixture
def consume(conn, broker):
    """`consume("emails")`: a living worker consumes these queues; its id."""

    def consume(*queues):
        query = """
            INSERT INTO workshed.workers (id, host, pid, threads, release, busy, queues,
                                          oldest_waiting, oldest_held)
            VALUES (%s, 'web-1', 77, 8, '', 0, %s, %s, %s)
        """
        worker, none = uuid4(), [None] * len(queues)
        conn.execute(query, (worker, list(queues), none, none))
        return worker

    return consume


def test_each_queue_shows_how_much_waits_where(workshed, broker, store, bury, consume, conn):
    worker = consume("emails")
    store("due", queue="emails", due="-1 minute")
    store("later", queue="emails")
    store("runs", queue="emails", due="-1 minute")
    bury("dead", queue="emails")
    query = "UPDATE workshed.schedule SET claimed_by = %s, claimed_at = now() WHERE message_id = %s"
    conn.execute(query, (worker, "runs"))

    done = workshed("queues", "--json")

    assert (done.code, done.err) == (0, "")
    [emails] = [one for one in done.json if one["name"] == "emails"]
    assert emails == {
        "name": "emails",
        "kind": "classic",
        "weight": 1,
        "levels": 4,
        "ready": 1,
        "unacked": 1,
        "workers": 1,
        "waiting": 1,
        "dead": 1,
        "dead_queue": None,
        "paused_at": None,
    }
    shown = workshed("queues")
    assert shown.code == 0
    columns, line = (one.split() for one in shown.lines if one.startswith(("queue ", "emails ")))
    assert columns[:6] == ["queue", "levels", "weight", "ready", "unacked", "workers"]
    assert line[:6] == ["emails", "4", "1", "1", "1", "1"]


def test_due_jobs_are_purged_and_the_others_stay(workshed, broker, store, conn, rows):
    for number in range(250):
        store(f"due {number}", queue="emails", due="-1 minute")
    store("later", queue="emails")
    conn.execute("UPDATE workshed.schedule SET body = 'x' WHERE message_id = 'due 3'")

    done = workshed("queues", "purge", "emails", "--yes", "--json")

    assert done.code == 0, done.err
    assert done.json == {"queue": "emails", "found": 250, "purged": 249, "unreadable": 1}
    assert "1 more for later: `workshed scheduled cancel --all --queue emails`" in done.err
    assert rows("SELECT message_id FROM workshed.schedule") == [("later",)]
    [row] = attempts.list_job_attempts(conn, "due 7")
    assert (row.outcome, row.reason) == ("cancelled", "purged by an operator")


def test_a_queue_is_paused_and_resumed(workshed, broker):
    assert workshed("queues", "pause", "emails").out == "emails  paused\n"
    assert workshed("queues", "resume", "emails").out == "emails  resumed\n"


@pytest.mark.parametrize(
    "words",
    [
        ("broker", "setup"),
        ("broker", "check"),
        ("broker", "definitions"),
        ("dead", "requeue", "emails", "--yes"),
    ],
)
def test_what_only_rabbitmq_has_is_refused_with_what_to_use(workshed, broker, words):
    done = workshed(*words)

    assert (done.code, done.out) == (2, "")
    assert "there is no RabbitMQ here (WORKSHED_BROKER_URL=postgresql:): " in done.err
    assert "`workshed " in done.err


def test_a_job_is_sent_by_hand(workshed, broker, rows):
    done = workshed("enqueue", "to_emails", "--import", ACTORS)

    assert done.code == 0, done.err
    assert rows("SELECT message_id FROM workshed.schedule") == [(done.out.strip(),)]
    assert workshed("dead", "list").err == "No dead jobs.\n"


# The doctor


def test_the_doctor_checks_no_rabbitmq(examined, conn, consume, broker):
    relays.record_relay(conn, uuid4(), "here", 1)
    consume(*broker.declared_queues)

    found = examined()

    assert not [name for name in found if "RabbitMQ" in name or name in ("alarms", "management")]
    for name in ("migrations", "relay", "workers", "vacuum", "transactions", "load"):
        assert {one.level for one in found[name]} == {"ok"}, found[name]


def test_it_finds_a_missing_relay_and_queues_without_workers(examined, store):
    store("due", queue="emails", due="-1 minute")

    found = examined()

    assert found["relay"][0].message.startswith("no relay is running: missed periodic runs")
    assert found["workers"][0].level == "failed"
    assert "no worker consumes emails (1 ready): jobs wait" in found["workers"][0].message


def test_it_finds_workers_that_are_behind(examined, store, consume, broker, conn):
    consume(*broker.declared_queues)
    queues.declare_queues(conn, {"emails": "classic"})
    store("due", queue="emails", due="-1 minute")

    [late] = examined()["workers"]

    assert late.level == "warning"
    assert late.message.startswith("the oldest job waits: emails for ")


@pytest.mark.fresh_database
def test_it_finds_what_keeps_vacuum_from_working(examined, connect, conn, monkeypatch):
    monkeypatch.setattr(table_queue, "LONG_TRANSACTION", timedelta())
    monkeypatch.setattr(table_queue, "MOST_DEAD_ROWS", -1)
    old = connect()
    old.execute("SET application_name = 'export'; SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    old.execute("SELECT FROM workshed.schedule")
    pid = old.info.backend_pid

    found = examined()

    said = [one for one in found["transactions"] if f"session {pid} of " in one.message]
    assert [one.level for one in said] == ["warning"]
    assert "(export, idle in transaction) has held back vacuum" in said[0].message
    assert f"pg_terminate_backend({pid})" in said[0].fix
    assert "autovacuum does not keep up" in found["vacuum"][0].message

    old.rollback()
    for word in ("false", "off"):
        conn.execute(f"ALTER TABLE workshed.schedule SET (autovacuum_enabled = {word})")
        assert examined()["vacuum"][0].level == "failed"
    assert str(pid) not in str(examined()["transactions"])


def test_it_says_when_to_move_up(examined, monkeypatch):
    monkeypatch.setattr(table_queue, "MOST_PER_SECOND", -1)

    [load] = examined()["load"]

    assert load.level == "warning"
    assert "RabbitMQ is the better queue" in load.message


# The gauges of a relay


def test_a_relay_measures_how_fast_jobs_end_and_the_indexes(conn, store, eventually, monkeypatch):
    shown = {}
    for name in ("SCHEDULE_ENDED_RATE", "SCHEDULE_DEAD_ROWS", "SCHEDULE_INDEX_BYTES"):
        monkeypatch.setattr(
            getattr(meters, name), "set", lambda value, name=name: shown.update({name: value})
        )
    gauges = TableGauges()
    gauges(conn)
    before = table_load.read_statistics(conn).deleted
    for number in range(20):
        store(f"ends {number}")
    conn.execute("DELETE FROM workshed.schedule")
    eventually(lambda: table_load.read_statistics(conn).deleted >= before + 20)

    assert gauges(conn) >= table_depths.POLL_S

    assert shown["SCHEDULE_ENDED_RATE"] > 0
    assert shown["SCHEDULE_DEAD_ROWS"] >= 20
    assert shown["SCHEDULE_INDEX_BYTES"] > 0
