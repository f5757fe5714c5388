"""docs/runbooks.md: with the fault of an alert, its commands print what the page shows."""

import re
import sys
from datetime import timedelta
from uuid import uuid4

import pytest

from tests import pages
from tests.transcripts import follow, shell
from workshed.console.doctor import table_queue
from workshed.cronspec import daily
from workshed.database.postgres import database_now
from workshed.devserver.ports import find_free_ports
from workshed.jobs.idempotency import completed_generations
from workshed.jobs.outbox import relays
from workshed.jobs.periodic import periodic_jobs, periodic_runs
from workshed.jobs.periodic.periodic_jobs import PeriodicDeclaration
from workshed.transport.amqp import topology

pytestmark = pytest.mark.one_in(3)  # each test starts programs of its own

PAGE = "docs/runbooks.md"
OLDEST = pages.block(PAGE, "$ workshed queues", under="WorkshedOldestWaiting")
NO_CONSUMER = pages.block(PAGE, "$ workshed doctor", under="WorkshedNoConsumer")
LAG = pages.block(PAGE, "$ workshed doctor", under="WorkshedRelayLag")
GONE = pages.block(PAGE, "$ workshed doctor", under="WorkshedRelayGone")
DIED = pages.block(PAGE, "$ workshed dead", under="WorkshedJobsDied")
DEAD_QUEUE = pages.block(PAGE, "$ workshed dead\n", under="WorkshedDeadQueue")
PUT_BACK = pages.block(PAGE, "$ workshed dead requeue", under="WorkshedDeadQueue")
FAILING = pages.block(PAGE, "$ workshed jobs", under="WorkshedFailureRatio")
SILENT = pages.block(PAGE, "$ workshed periodic", under="WorkshedClockSilent")
LATE = pages.block(PAGE, "$ workshed doctor", under="WorkshedPeriodicJobsLate")
REPORT = pages.block(PAGE, "$ workshed jobs", under="WorkshedReportMissing")
ALARM = pages.block(PAGE, "$ workshed enqueue", under="WorkshedRabbitMQAlarm")
NO_RABBITMQ = pages.block(PAGE, "$ workshed doctor", under="WorkshedRabbitMQUnreachable")
NO_POSTGRESQL = pages.block(PAGE, "$ workshed doctor", under="WorkshedPostgreSQLUnreachable")
VACUUM = pages.block(PAGE, "$ workshed doctor", under="WorkshedVacuumBehind")
NO_WORKERS = pages.block(PAGE, "$ workshed workers", under="WorkshedNoWorkers")
NO_PAGE = pages.block(PAGE, "$ curl", under="WorkshedTargetDown")
FILES = pages.files("README.md") | pages.files("docs/periodic.md")
HERE = {re.compile(r"virtual host '[^']*'"): "VHOST", re.compile(r"(?<=PLACE/)\w+"): "DATABASE"}
SESSIONS = {
    re.compile(r"(?<=session )\d+|(?<=backend\()\d+"): "PID",
    re.compile(r"\d+(?= MiB)"): "SIZE",
}
ENDED = """
    INSERT INTO workshed.schedule (message_id, generation, queue, actor, body, due_at, reason)
    SELECT n, 0, 'low', 'note', '{}', workshed.now(), 'delayed' FROM generate_series(1, 260000) AS n
"""
CURL = {
    re.compile(r"Couldn't|Could not"): "COULD NOT",
    re.compile(r"(?: port |:)\d{4,5}\b"): "PORT",
}
"""The output of curl differs between its versions."""


@pytest.fixture
def lay(declared, rabbitmq, eventually):
    """`lay("low")`: put a message into a queue that nothing consumes."""

    def lay(queue):
        with topology.open_connection(declared.urls) as connection:
            connection.channel().basic_publish("", queue, b"x")
        eventually(lambda: rabbitmq.depth(queue) == 1)

    return lay


@pytest.fixture
def modules(declared, actor, tmp_path, monkeypatch):
    """The modules of README and of docs/periodic.md can be imported."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in FILES:
        sys.modules.pop(name.removesuffix(".py"), None)


@pytest.fixture
def short_of_memory(alarm, declared, eventually, management):
    """RabbitMQ is short of memory, and reports it."""
    with alarm("memory"):
        eventually(lambda: management.ask("GET", "nodes")[0].get("mem_alarm"))
        yield


def test_the_oldest_waits(lay, management):
    lay("low")

    follow(OLDEST)


def test_a_queue_without_a_consumer(modules, lay, management):
    lay("low")

    follow(NO_CONSUMER)


def test_relays_lag(conn, store, short_of_memory):
    relays.record_relay(conn, uuid4(), "here", 1)
    store("a", due="-40 s")

    follow(LAG)


def test_no_relay_is_running(declared, conn, store):
    store(str(uuid4()), due="-39 s", actor="send_invoice")
    conn.execute("UPDATE workshed.schedule SET body = replace(body, '[7]', '[9]')")

    follow(GONE)


def test_jobs_died(declared, bury):
    for _ in range(3):
        bury(str(uuid4()), actor="send_invoice", error=TimeoutError("no"))

    follow(DIED)


def test_messages_that_could_not_be_stored(lay):
    lay("default.dead")

    follow(DEAD_QUEUE)
    follow(PUT_BACK)


def test_an_actor_fails(database, ran):
    ran(
        str(uuid4()),
        actor="send_invoice",
        outcome="dead",
        error_class="TimeoutError",
        reason="TimeoutError: the printer does not answer",
        arguments={"order_id": 3},
    )

    follow(FAILING)


@pytest.fixture
def note(conn, database):
    """`note("count_orders")`: a running worker declares this job."""

    def note(name):
        periodic_jobs.declare_jobs(
            conn, [PeriodicDeclaration(name, "low", daily("09:00", tz="Europe/Paris"), {})]
        )

    return note


def test_no_clock_ticks(note, conn):
    note("count_orders")
    run = periodic_runs.create_run(
        conn, "count_orders", database_now(conn) - timedelta(hours=6), "catch_up"
    )
    conn.execute("DELETE FROM workshed.schedule")
    completed_generations.complete_generation(conn, run.message_id, 0)

    follow(SILENT)


def test_a_run_is_not_created(declared, note, conn):
    note("count_orders_2")
    conn.execute("UPDATE workshed.periodic_jobs SET next_at = workshed.now() - interval '5 min'")

    follow(LATE)


def test_a_report_is_missing(database, ran):
    ran(str(uuid4()), actor="daily_report", arguments={})

    follow(REPORT)


def test_rabbitmq_is_short_of_memory(modules, short_of_memory, tmp_path):
    follow(ALARM, shell(tmp_path))


def test_rabbitmq_is_away(database, env):
    env(BROKER_URL=f"amqp://guest:guest@127.0.0.1:{find_free_ports(1)[0]}")

    follow(NO_RABBITMQ, changing=HERE)


def test_postgresql_is_away(broker, env):
    env(DATABASE_URL=f"postgresql://127.0.0.1:{find_free_ports(1)[0]}/workshed")

    follow(NO_POSTGRESQL, changing=HERE)


@pytest.mark.fresh_database
def test_vacuum_is_held_back(broker, conn, connect, env, monkeypatch):
    env(BROKER_URL="postgresql:")
    monkeypatch.setattr(table_queue, "LONG_TRANSACTION", timedelta())
    old = connect()
    old.execute("SET application_name = 'export'; SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    old.execute("SELECT FROM workshed.schedule")
    for query in (ENDED, "DELETE FROM workshed.schedule", "SELECT pg_stat_force_next_flush()"):
        conn.execute(query)

    follow(VACUUM, changing=SESSIONS)


def test_no_worker_is_running(database):
    follow(NO_WORKERS)


def test_no_page_answers(tmp_path):
    port = str(find_free_ports(1)[0])

    follow(NO_PAGE.replace("9191", port), shell(tmp_path), CURL)
