"""Kill processes and servers while jobs run: no job is lost, and few run twice."""

import contextlib
import os
import signal

import pytest
from dramatiq import Message

from workshed import Queue

ACTORS = """
import os, time
import dramatiq
from workshed import Queue, broker

broker.add_queue(Queue("parts"))

def note(line):
    with open(os.environ["NOTES"], "a") as notes:
        notes.write(line + "\\n")

@dramatiq.actor(broker=broker, queue_name="parts")
def make(number):
    note(f"start {number}")
    time.sleep(0.05)
    note(f"end {number}")

@dramatiq.actor(broker=broker, queue_name="parts", max_retries=5, min_backoff=100, max_backoff=200)
def flaky(number):
    note(f"start {number}")
    if not os.path.exists(os.environ["NOTES"] + f".{number}"):
        open(os.environ["NOTES"] + f".{number}", "w").close()
        raise OSError("the first run fails")
    note(f"end {number}")
"""


@pytest.fixture
def notes(tmp_path, monkeypatch):
    """The notes of the actors: `notes("end")` has the numbers of finished runs, with repeats."""
    (tmp_path / "parts.py").write_text(ACTORS)
    file = tmp_path / "notes.txt"
    file.touch()
    monkeypatch.setenv("NOTES", str(file))
    return lambda word: [
        int(line.split()[1]) for line in file.read_text().splitlines() if line.startswith(word)
    ]


@pytest.fixture
def send(broker, notes):
    """Send by name, as a program without the actors would."""
    broker.add_queue(Queue("parts"))
    yield lambda actor, number: broker.enqueue(Message("parts", actor, (number,), {}, {}))
    del broker.declared_queues["parts"]


def test_kill_9_of_a_worker_in_mid_job_loses_nothing(start_worker, send, notes, eventually, scale):
    wanted = scale(1000)
    first = start_worker("parts", threads=4)
    for number in range(wanted):
        send("make", number)
    eventually(lambda: len(notes("end")) > wanted // 5)

    os.kill(first.children()[0], signal.SIGKILL)
    # All of dramatiq's master stops when one process dies; a service manager starts it again.
    assert first.process.wait(60) != 0
    start_worker("parts", threads=4)

    eventually(lambda: set(notes("end")) == set(range(wanted)))
    assert len(notes("end")) <= wanted + 8  # at most the prefetched jobs run again


def test_a_restart_of_rabbitmq_in_mid_job_loses_nothing(
    start_worker, send, notes, servers, rabbitmq, eventually, scale
):
    wanted = scale(1000)
    worker = start_worker("parts", threads=4)
    for number in range(wanted):
        send("make", number)
    eventually(lambda: len(notes("end")) > wanted // 5)

    servers.rabbitmq.restart()

    eventually(lambda: set(notes("end")) == set(range(wanted)))
    assert worker.process.poll() is None
    eventually(lambda: rabbitmq.depth("parts") + rabbitmq.unacked("parts") == 0)


def test_kill_9_of_rabbitmq_in_mid_job_loses_nothing(
    start_worker, send, broker, notes, servers, eventually, scale
):
    # RabbitMQ 4.0.5 keeps the name of a new quorum queue in memory for up to a second, and loses
    # the queue if it is killed then; a clean restart writes the name to disk.
    broker.ensure_queues({"parts"})
    servers.rabbitmq.restart()
    wanted = scale(1000)
    start_worker("parts", threads=4)
    for number in range(wanted):
        send("make", number)
    eventually(lambda: len(notes("end")) > wanted // 5)

    servers.rabbitmq.kill()
    servers.rabbitmq.start()

    eventually(lambda: set(notes("end")) == set(range(wanted)))


def test_retries_survive_the_death_of_everything(
    start_worker, send, notes, servers, count, eventually, scale
):
    wanted = scale(500)
    first = start_worker("parts", threads=4)
    for number in range(wanted):
        send("flaky", number)
    eventually(lambda: notes("start"))

    first.kill()
    servers.rabbitmq.restart()
    servers.postgres.stop()
    servers.postgres.start()
    start_worker("parts", threads=4)

    eventually(lambda: set(notes("end")) == set(range(wanted)))


def test_a_killed_relay_comes_back(start_worker, send, broker, notes, eventually, count, conn):
    start_worker("parts")
    relay = "SELECT pid FROM workshed.relays ORDER BY started_at DESC"
    first = eventually(lambda: conn.execute(relay).fetchone())[0]

    os.kill(first, signal.SIGKILL)
    send("flaky", 1)

    eventually(lambda: conn.execute(relay).fetchone()[0] != first)
    eventually(lambda: notes("end") == [1])


def test_sigterm_finishes_running_jobs_and_requeues_the_rest(
    start_worker, send, notes, rabbitmq, eventually
):
    worker = start_worker("parts", threads=2)
    for number in range(200):
        send("make", number)
    eventually(lambda: notes("end"))

    assert worker.stop() == 0

    started, ended = notes("start"), notes("end")
    assert sorted(started) == sorted(ended)
    eventually(lambda: rabbitmq.depth("parts") == 200 - len(ended))


def test_nothing_is_left_of_a_killed_master(start_worker, notes, conn, eventually):
    worker = start_worker("parts")
    eventually(lambda: conn.execute("SELECT 1 FROM workshed.relays").fetchone())
    relay = conn.execute("SELECT pid FROM workshed.relays").fetchone()[0]

    worker.process.kill()

    def is_gone():
        with contextlib.suppress(ProcessLookupError):
            os.kill(relay, 0)
            return False
        return True

    eventually(is_gone)
