"""Workers that take their jobs from PostgreSQL alone: killed and stopped, they lose none."""

import os
import signal

import pytest
from dramatiq import Message

from workshed import Queue

ACTORS = """
import dramatiq
import time
from pathlib import Path
from workshed import Queue, broker, db

broker.add_queue(Queue("parts"))

@dramatiq.actor(broker=broker, queue_name="parts", once=True)
def make(number):
    with db.transaction() as conn:
        conn.execute("INSERT INTO effects VALUES (%s)", (number,))
    time.sleep(0.005)

@dramatiq.actor(broker=broker, queue_name="parts", once=True)
def wait(folder, number):
    with db.transaction() as conn:
        conn.execute("INSERT INTO effects VALUES (%s)", (number,))
    Path(folder, "waits").touch()
    while not Path(folder, "go").exists():
        time.sleep(0.05)
"""
PARTS = {"WORKSHED_RELAY_FORK": "true"}


@pytest.fixture
def transport():
    """Jobs are rows; there is no RabbitMQ."""
    return "postgresql"


@pytest.fixture
def send(broker, environment, tmp_path, connect):
    """`send("make", 1, 2)`: send jobs of the actors above; their table is there."""
    (tmp_path / "parts.py").write_text(ACTORS)
    connect(autocommit=True).execute("CREATE TABLE effects (number int)")
    broker.add_queue(Queue("parts"))
    yield lambda name, *calls: broker.enqueue_many(
        Message("parts", name, args, {}, {}) for args in calls
    )
    broker.declared_queues.pop("parts")
    broker._added_queues.discard("parts")


@pytest.fixture
def counts(connect):
    """`counts()`: how many rows the schedule has, and how many effects and numbers there are."""
    conn = connect(autocommit=True)
    query = """
        SELECT (SELECT count(*) FROM workshed.schedule), count(*), count(DISTINCT number)
          FROM effects
    """
    return lambda: conn.execute(query).fetchone()


@pytest.mark.fresh_database
def test_jobs_of_killed_workers_run_elsewhere_and_have_their_effects_once(
    send, counts, start_worker, eventually
):
    number = 3_000
    workers = [start_worker("parts", env=PARTS) for _ in range(2)]
    send("make", *((n,) for n in range(number)))

    eventually(lambda: counts()[1] > number // 10)
    workers[0].kill()
    eventually(lambda: counts()[1] > number // 3)
    workers[1].kill()
    start_worker("parts", env=PARTS)

    eventually(lambda: counts() == (0, number, number))


@pytest.mark.fresh_database
def test_a_worker_that_was_stopped_writes_nothing_once_its_job_is_taken(
    send, counts, start_worker, tmp_path, connect, eventually
):
    """For everyone else it was dead; its transaction is still open when it comes back."""
    conn = connect(autocommit=True)
    first = start_worker("parts", env=PARTS)
    send("wait", (str(tmp_path), 1))
    eventually((tmp_path / "waits").exists)
    os.killpg(first.process.pid, signal.SIGSTOP)

    second = start_worker("parts", env=PARTS)
    taken = "SELECT 1 FROM workshed.schedule WHERE possible_duplicate AND claimed_by IS NOT NULL"
    eventually(lambda: conn.execute(taken).fetchone())
    (tmp_path / "go").touch()
    os.killpg(first.process.pid, signal.SIGCONT)

    eventually(lambda: counts() == (0, 1, 1))
    eventually(lambda: "the writes of this run were rolled back" in first.text())
    assert "the writes of this run were rolled back" not in second.text()
    assert counts() == (0, 1, 1)
    assert conn.execute("SELECT count(*) FROM workshed.dead").fetchone() == (0,)
