"""Signed messages among real workers, their relay and the command line; no key is shown."""

import json

import pika
import pytest

from workshed.settings import settings
from workshed.transport.amqp import topology
from workshed.transport.amqp.arguments import EXCHANGE
from workshed.transport.messages.signing import SIGNATURE_HEADER, Signing

KEY, OTHER = "the-first-key-of-this-installation", "the-other-key-of-this-installation"
ACTORS = """
import os
import dramatiq
from workshed import broker

@dramatiq.actor(broker=broker, queue_name="default")
def note(number):
    with open(os.environ["NOTES"], "a") as notes:
        notes.write(f"{number}\\n")

@dramatiq.actor(broker=broker, queue_name="default")
def pass_on(number):
    note.send(number)
    note.send_with_options(args=(number + 1,), delay=1)
"""


@pytest.fixture
def notes(tmp_path, monkeypatch):
    """The numbers that ran, sorted, with repeats."""
    (tmp_path / "signed_jobs.py").write_text(ACTORS)
    file = tmp_path / "notes.txt"
    file.touch()
    monkeypatch.setenv("NOTES", str(file))
    return lambda: sorted(map(int, file.read_text().split()))


@pytest.fixture
def keys(monkeypatch):
    """`keys(KEY)`: processes that start from now on have these keys."""

    def use(*keys):
        monkeypatch.setenv("WORKSHED_SIGNING_KEYS", ",".join(keys))
        settings.cache_clear()

    return use


@pytest.fixture
def enqueue(environment, run_apart):
    """`enqueue("note", 1)`: send with the command line and the current keys."""

    def enqueue(actor, number):
        words = ["enqueue", actor, str(number), "--import", "signed_jobs"]
        done = run_apart("-m", "workshed", *words, **environment)
        assert done.returncode == 0, done.stderr

    return enqueue


def test_workers_relays_and_the_command_line_take_each_others_jobs_and_no_others(
    keys, notes, enqueue, start_worker, broker, count, conn, eventually
):
    """Messages that a job sends at once, and those that a relay sends later, are signed, too."""
    keys(KEY)
    worker = start_worker("signed_jobs")
    enqueue("pass_on", 1)
    eventually(lambda: notes() == [1, 2])

    body = {
        "queue_name": "default",
        "actor_name": "note",
        "args": [666],
        "kwargs": {},
        "options": {},
        "message_id": "forged",
        "message_timestamp": 1_700_000_000_000,
    }
    forged = json.dumps(body).encode()
    theirs = {SIGNATURE_HEADER: Signing([OTHER], required=True).sign("default", {}, forged)}
    with topology.open_connection(broker.urls) as connection:
        for headers in ({}, theirs):
            properties = pika.BasicProperties(headers=headers)
            connection.channel().basic_publish(EXCHANGE, "default", forged, properties)
    enqueue("note", 3)
    eventually(lambda: notes() == [1, 2, 3])

    eventually(lambda: count("workshed.dead"))
    [(body, actor, error)] = conn.execute("SELECT body, actor, error_class FROM workshed.dead")
    assert (bytes(body), actor, error) == (forged, None, "SignatureError")
    assert worker.stop() == 0
    assert "unreadable message on default: signature: is missing" in worker.text()
    assert KEY not in worker.text()


def test_a_key_is_replaced_while_workers_of_both_steps_run(
    keys, notes, enqueue, start_worker, count, eventually
):
    """Each of two workers accepts messages from a program one step before or behind it."""
    steps = [(OTHER,), (OTHER, KEY), (KEY, OTHER), (KEY,)]
    number = 0
    keys(*steps[0])
    before = start_worker("signed_jobs")
    for step in steps[1:]:
        keys(*step)
        after = start_worker("signed_jobs")
        enqueue("pass_on", number := number + 2)
        before.stop()
        before = after
    eventually(lambda: notes() == [2, 3, 4, 5, 6, 7])

    assert count("workshed.dead") == 0
