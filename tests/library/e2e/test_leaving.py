"""SIGTERM: waiting jobs are requeued at once, running ones get some time, and no attempt counts."""

import json
import signal
from datetime import datetime

import pytest
from dramatiq import Message

from workshed import Queue

ACTORS = """
import os, pathlib, time
import dramatiq
from workshed import Queue, broker

broker.add_queue(Queue("parts", prefetch=16))
NOTES = pathlib.Path(os.environ["NOTES"])

def note(line):
    with NOTES.open("a") as notes:
        notes.write(line + "\\n")

@dramatiq.actor(broker=broker, queue_name="parts")
def short(number):
    note(f"end {number}")

@dramatiq.actor(broker=broker, queue_name="parts")
def long(number):
    note(f"start {number}")
    while not NOTES.with_suffix(".on").exists():
        time.sleep(0.01)
    note(f"end {number}")

@dramatiq.actor(broker=broker, queue_name="parts")
def stuck(number):
    note(f"start {number}")
    if not NOTES.with_suffix(".on").exists():
        time.sleep(600)  # one call into C: nothing can interrupt it
    note(f"end {number}")
"""


@pytest.fixture
def notes(tmp_path, monkeypatch):
    """Notes of the actors: `notes("end")` has numbers; `notes.on()` lets long jobs end."""
    (tmp_path / "parts.py").write_text(ACTORS)
    file = tmp_path / "notes.txt"
    file.touch()
    monkeypatch.setenv("NOTES", str(file))

    def notes(word):
        lines = [line.split() for line in file.read_text().splitlines()]
        return [int(number) for first, number in lines if first == word]

    notes.on = file.with_suffix(".on").touch
    return notes


@pytest.fixture
def send(broker, notes):
    """Send by name, as a program without the actors would."""
    broker.add_queue(Queue("parts", prefetch=16))
    yield lambda actor, number: broker.enqueue(Message("parts", actor, (number,), {}, {}))
    del broker.declared_queues["parts"]


def test_waiting_jobs_go_to_another_worker_at_once(start_worker, send, notes, rabbitmq, eventually):
    """dramatiq prefetches until its last job ends: short jobs would wait next to an idle worker.

    Without the chained signal they are requeued when dramatiq checks for it, once a second.
    """
    first = start_worker("parts", threads=2, env={"WORKSHED_LOG_FORMAT": "json"})
    for number in (1, 2):
        send("long", number)
    eventually(lambda: len(notes("start")) == 2)
    for number in range(3, 17):
        send("short", number)
    eventually(lambda: rabbitmq.unacked("parts") == 16)
    start_worker("parts", threads=2)

    first.process.send_signal(signal.SIGTERM)

    eventually(lambda: sorted(notes("end")) == list(range(3, 17)))
    assert sorted(notes("start")) == [1, 2]  # they still run on the first worker
    notes.on()
    eventually(lambda: set(notes("end")) >= {1, 2})
    assert first.process.wait(60) == 0
    assert sorted(notes("end")) == list(range(1, 17))
    words = [line for line in first.text().splitlines() if line.startswith("{")]
    events = [json.loads(line) for line in words]
    ours = next(i for i, e in enumerate(events) if e["event"].startswith("this worker stops"))
    theirs = next(i for i, e in enumerate(events) if e["event"] == "Shutting down...")
    assert ours < theirs
    assert datetime.fromisoformat(events[ours]["timestamp"])


def test_a_job_that_outlives_the_grace_is_interrupted_and_not_charged(
    start_worker, send, notes, count, conn, rabbitmq, eventually
):
    """dramatiq would exit in the middle of the job, which then runs again only if redelivered."""
    first = start_worker("parts", threads=2, env={"WORKSHED_SHUTDOWN_GRACE": "0.5"})
    send("long", 1)
    eventually(lambda: notes("start") == [1])

    assert first.stop() == 0

    row = conn.execute("SELECT reason, body::jsonb -> 'options' FROM workshed.schedule").fetchone()
    assert row is None or row[0] == "interrupted"
    assert count("workshed.attempts") == 0
    notes.on()
    start_worker("parts", threads=2)
    eventually(lambda: notes("end") == [1])
    eventually(lambda: count("workshed.redelivered_starts") == 0)
    assert count("workshed.attempts") == 0
    eventually(lambda: rabbitmq.depth("parts") == rabbitmq.unacked("parts") == 0)


def test_a_job_that_cannot_be_interrupted_is_left_behind(
    start_worker, send, notes, count, eventually
):
    """Waiting for it would keep the process until it is killed, with all that is not stored."""
    first = start_worker("parts", threads=2, env={"WORKSHED_SHUTDOWN_GRACE": "0.5"})
    send("stuck", 1)
    eventually(lambda: notes("start") == [1])

    assert first.stop() == 0

    notes.on()
    start_worker("parts", threads=2)
    eventually(lambda: notes("end") == [1])
    assert notes("start") == [1, 1]
    eventually(lambda: count("workshed.redelivered_starts") == 0)
    assert count("workshed.attempts") == 0
