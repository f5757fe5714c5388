"""Jobs that kill their worker end dead, and no other job does."""

import pytest
from dramatiq import Message
from dramatiq.cli import RET_KILLED

from workshed import Queue

ACTORS = """
import os, pathlib, signal, time
import dramatiq
from workshed import Queue, broker

broker.add_queue(Queue("parts", prefetch=64))

def note(line):
    with open(os.environ["NOTES"], "a") as notes:
        notes.write(line + "\\n")

@dramatiq.actor(broker=broker, queue_name="parts")
def innocent(number):
    time.sleep(0.05)
    note(f"end {number}")

@dramatiq.actor(broker=broker, queue_name="parts")
def poison(number):
    note(f"start {number}")
    time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def notes(tmp_path, monkeypatch):
    """Notes of the actors: `notes("end")` has the numbers, with repeats."""
    (tmp_path / "parts.py").write_text(ACTORS)
    file = tmp_path / "notes.txt"
    file.touch()
    monkeypatch.setenv("NOTES", str(file))

    def notes(word):
        lines = [line.split() for line in file.read_text().splitlines()]
        return [int(number) for first, number in lines if first == word]

    return notes


@pytest.fixture
def send(broker, notes):
    """Send by name, as a program without the actors would."""
    broker.add_queue(Queue("parts", prefetch=64))
    yield lambda actor, number: broker.enqueue(Message("parts", actor, (number,), {}, {}))
    del broker.declared_queues["parts"]


def test_killers_die_and_innocents_finish(
    start_worker, send, notes, rabbitmq, conn, count, scale, eventually
):
    """On a classic queue they loop forever; a delivery limit would dead-letter their neighbours."""
    killers, innocents = max(scale(10), 2), max(scale(30), 10)
    for number in range(innocents):
        send("innocent", number)
        if number < killers:
            send("poison", number)

    def has_ended():
        return count("workshed.dead") == killers and len(set(notes("end"))) == innocents

    masters = 0
    while not has_ended():
        masters += 1
        assert masters <= 4 * killers + 1
        worker = start_worker("parts", threads=4, ready=False)
        eventually(lambda: worker.process.poll() is not None or has_ended())  # noqa: B023

    assert sorted(set(notes("end"))) == list(range(innocents))
    reasons = {reason for (reason,) in conn.execute("SELECT reason FROM workshed.dead").fetchall()}
    assert all(reason.startswith("killed its worker") for reason in reasons)
    eventually(lambda: (rabbitmq.depth("parts"), rabbitmq.unacked("parts")) == (0, 0))
    eventually(lambda: count("workshed.redelivered_starts") == 0)
    # The first start of each is not recorded, the next makes it a suspect, two more are alone.
    assert len(notes("start")) <= 4 * killers


def test_a_job_that_kills_its_worker_as_that_starts_leaves_no_master_waiting(
    start_worker, send, notes, eventually, tmp_path
):
    """A worker reports under a lock that it is up. If it is killed there, the lock stays held and
    stock dramatiq's master waits for it forever: nothing runs, and nothing is logged."""
    slow = """
from multiprocessing import synchronize

def set(event):
    with event._cond:
        event._flag.acquire(False)
        event._flag.release()
        time.sleep(1)
        event._cond.notify_all()

synchronize.Event.set = set
"""
    (tmp_path / "parts.py").write_text(ACTORS + slow)
    send("poison", 0)

    worker = start_worker("parts", threads=4, ready=False)

    # Its exit code, and not its last lines: dramatiq's thread that writes them may end before.
    assert eventually(worker.process.poll) == RET_KILLED, worker.text()
    assert notes("start") == [0]


def test_after_a_cut_of_all_connections_no_job_is_a_suspect(
    start_worker, send, notes, rabbitmq, count, eventually, scale
):
    """If each redelivery counted as a death, a flapping network would kill or slow all jobs."""
    wanted = scale(1000)
    start_worker("parts", threads=4)
    for number in range(wanted):
        send("innocent", number)
    eventually(lambda: len(notes("end")) > wanted // 10)

    eventually(lambda: rabbitmq.close_connections("consumer"))

    eventually(lambda: len(set(notes("end"))) == wanted)
    assert count("workshed.redelivered_starts WHERE isolated > 0") == count("workshed.dead") == 0
