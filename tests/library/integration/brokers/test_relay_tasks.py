"""Relay tasks of an application: they run, and do not keep a relay from its own work."""

import signal
import subprocess
import sys
import threading

import pytest

from workshed import db
from workshed import schedule as outbox
from workshed.app import APP_VARIABLE
from workshed.transport.relay.background import BackgroundTasks

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""

TASKS = """
import time
import workshed

app = workshed.App(relay_tasks=("tasks:note", "tasks:Counter", "tasks:fail", "tasks:hang"))

def note(conn):
    conn.execute("INSERT INTO notes VALUES ('note')")
    return 0.05

class Counter:
    def __init__(self):
        self.count = 0

    def __call__(self, conn):
        self.count += 1
        conn.execute("INSERT INTO notes VALUES (%s)", (f"count {self.count}",))
        return 0.05

def fail(conn):
    raise LookupError("what a pity")

def hang(conn):
    while open("hang").read():
        conn.execute("INSERT INTO notes VALUES ('hangs')")
        time.sleep(0.05)
    return 0.05
"""


@pytest.fixture
def start(broker, database, connect, tmp_path, monkeypatch):
    """Start a relay whose App has four tasks; with `hangs=True`, one of them never returns."""
    connect(autocommit=True).execute("CREATE TABLE notes (text text)")
    (tmp_path / "tasks.py").write_text(TASKS)
    monkeypatch.setenv(APP_VARIABLE, "tasks:app")
    started = []

    def start(*, hangs=False):
        (tmp_path / "hang").write_text("yes" if hangs else "")
        with (tmp_path / "relay.log").open("wb") as log:
            command = [sys.executable, "-m", "workshed.transport.relay.relay"]
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait(60)


@pytest.fixture
def noted(rows):
    return lambda: {text for (text,) in rows("SELECT text FROM notes")}


@pytest.mark.fresh_database
def test_tasks_are_called_again_and_one_that_fails_stops_no_other(
    start, noted, tmp_path, eventually
):
    relay = start()

    eventually(lambda: {"note", "count 1", "count 3"} <= noted())

    relay.send_signal(signal.SIGTERM)
    assert relay.wait(60) == 0
    assert "what a pity" in (tmp_path / "relay.log").read_text()


@pytest.mark.rabbitmq("a relay publishes rows")
@pytest.mark.fresh_database
def test_a_task_that_never_ends_holds_up_no_job_and_no_relay(
    start, noted, actor, rows, count_jobs, eventually
):
    """It has its own thread and connection, and the relay does not wait for it at the end."""
    greet = actor(queue_name="default", actor_name="greet")(lambda number: None)
    relay = start(hangs=True)
    eventually(lambda: "hangs" in noted())

    with db.transaction() as conn:
        outbox.send(conn, greet.message(1))

    eventually(lambda: rows("SELECT count(*) FROM workshed.schedule") == [(0,)])
    eventually(lambda: count_jobs("default")[0] == 1)
    relay.send_signal(signal.SIGTERM)
    assert relay.wait(60) == 0


def test_a_missing_task_ends_the_relay_and_is_named(start, tmp_path, monkeypatch):
    relay = start()
    relay.kill()
    relay.wait(60)
    (tmp_path / "tasks.py").write_text(TASKS.replace("tasks:note", "tasks:nothing"))

    assert start().wait(60) == 2

    assert "module 'tasks' has no 'nothing'" in (tmp_path / "relay.log").read_text()


def test_without_tasks_there_is_no_thread():
    before = threading.active_count()
    with BackgroundTasks("tasks", []):
        assert threading.active_count() == before
