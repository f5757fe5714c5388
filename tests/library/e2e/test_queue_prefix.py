"""`WORKSHED_QUEUE_PREFIX`: a virtual host that is shared with a program that owns `default`."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pika
import pytest

from tests.conftest import management

JOBS = """
import dramatiq
from workshed import Queue, RetryOn, broker, db

broker.add_queue(Queue("invoices", kind="classic", levels=2))

@dramatiq.actor(broker=broker, queue_name="default")
def note(text):
    with db.transaction() as conn:
        conn.execute("INSERT INTO noted VALUES (%s)", (text,))

@dramatiq.actor(broker=broker, queue_name="invoices", retry_on=RetryOn(OSError, queue="low"))
def bill(text):
    note.fn(text)
"""
SEND = """
from datetime import timedelta
from workshed import db, schedule
import shared_jobs as jobs

jobs.note.send("sent")
jobs.bill.send("billed")
jobs.note.send_with_options(args=("delayed",), delay=timedelta(milliseconds=300))
with db.transaction() as conn:
    schedule.send(conn, jobs.bill.message("stored"))
"""
FOREIGN = b"of another program"
PREFIX = "shop."
OURS = {
    f"{PREFIX}{name}{dead}" for name in ("default", "invoices", "low") for dead in ("", ".dead")
}
WORKSHED = Path(sys.executable).with_name("workshed")


@pytest.fixture
def foreign(vhost):
    """The channel of a program that owns `default`, with its own arguments and one message."""
    with contextlib.closing(pika.BlockingConnection(pika.URLParameters(vhost))) as connection:
        channel = connection.channel()
        channel.queue_declare("default", durable=True, arguments={"x-max-length": 5})
        channel.basic_publish("", "default", FOREIGN)
        yield channel


@pytest.fixture
def sharing(foreign, vhost, servers, environment, numbers, tmp_path):
    """The environment variables of a process of ours."""
    (tmp_path / "shared_jobs.py").write_text(JOBS)
    return {
        **environment,
        **numbers,
        "WORKSHED_BROKER_URL": vhost,
        "WORKSHED_QUEUE_PREFIX": PREFIX,
        "WORKSHED_MANAGEMENT_URL": management(servers),
    }


@pytest.fixture
def workshed(sharing, run_apart):
    """`workshed("queues")`: run a command to its end."""

    def command(*words):
        done = run_apart("-m", "workshed", *words, **sharing)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return command


@pytest.fixture
def levels(sharing, run_apart):
    """`levels()`: what `doctor` says of each check; one of them may find the machine slow."""

    def levels():
        words = ("--import", "shared_jobs", "--processes", "1", "--threads", "2")
        done = run_apart("-m", "workshed", "doctor", "--json", *words, **sharing)
        return {one["check"]: one["level"] for one in json.loads(done.stdout)["checks"]}

    return levels


@pytest.fixture
def worker(sharing, tmp_path):
    """`with worker():` a worker and its relay run, and log to `worker.log`."""

    @contextlib.contextmanager
    def run():
        log = tmp_path / "worker.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [WORKSHED, "worker", "-p", "1", "-t", "2", "shared_jobs"],
                env={**os.environ, **sharing},
                cwd=tmp_path,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        try:
            yield
        finally:
            process.terminate()
            process.wait(60)

    return run


@pytest.fixture
def noted(conn):
    """The texts that the jobs have noted."""
    conn.autocommit = True
    conn.execute("CREATE TABLE noted (said text)")
    return lambda: sorted(said for (said,) in conn.execute("SELECT said FROM noted"))


def test_jobs_run_next_to_a_program_that_owns_a_queue_of_the_same_name(
    worker, noted, sharing, run_apart, rabbitmq, foreign, eventually
):
    """Without a prefix the first send fails with "exists with other arguments"."""
    sent = run_apart("-c", SEND, **sharing)
    assert sent.returncode == 0, sent.stderr

    with worker():
        eventually(lambda: noted() == ["billed", "delayed", "sent", "stored"])

    assert rabbitmq.queues().keys() == OURS | {"default"}
    assert foreign.basic_get("default", auto_ack=True)[2] == FOREIGN
    assert foreign.basic_get("default")[0] is None


def test_commands_and_doctor_know_the_queues_by_their_own_names(
    workshed, worker, levels, noted, rabbitmq, foreign, count, eventually
):
    made = workshed("broker", "setup", "--import", "shared_jobs")
    assert set(made.split()) == {"default", "invoices", "low"}
    assert rabbitmq.queues().keys() == OURS | {"default"}
    assert workshed("broker", "check", "--import", "shared_jobs").endswith(
        " queues exist as declared\n"
    )
    for text in ("one", "two"):
        workshed("enqueue", "--import", "shared_jobs", "note", text)

    def ready():
        return {one["name"]: one["ready"] for one in json.loads(workshed("queues", "--json"))}

    eventually(lambda: ready()["default"] == 2)  # and not the one of the other program
    assert workshed("queues", "purge", "default", "--yes").strip() == "2"
    eventually(lambda: rabbitmq.depth(f"{PREFIX}default") == 0)

    workshed("enqueue", "--import", "shared_jobs", "note", "dead")
    channel = foreign
    method, properties, body = channel.basic_get(f"{PREFIX}default")
    channel.basic_publish("", f"{PREFIX}default.dead", body, properties)
    channel.basic_ack(method.delivery_tag)
    workshed("dead", "requeue", "default", "--yes")

    with worker():
        eventually(lambda: noted() == ["dead"] and count("workshed.relays"))
        names = ("queues", "workers", "permissions", "dead queues")
        # RabbitMQ counts and lists connections a moment later.
        eventually(lambda: {levels()[name] for name in names} == {"ok"})

    eventually(lambda: rabbitmq.depth("default") == 1)


def test_definitions_have_the_names_on_rabbitmq(workshed, rabbitmq):
    made = json.loads(workshed("broker", "definitions", "--import", "shared_jobs", "--prefix", "p"))

    assert {one["name"] for one in made["queues"]} == OURS
    assert {one["routing_key"] for one in made["bindings"]} == OURS
    rights = {one["user"]: one for one in made["permissions"]}
    assert rights["p-worker"]["read"] == r"^(shop\.default|shop\.low|shop\.invoices)$"
    for one in made["queues"]:
        assert one["arguments"].get("x-dead-letter-routing-key", f"{PREFIX}x").startswith(PREFIX)
    rabbitmq.load({**made, "users": [], "permissions": []})
    assert rabbitmq.queues().keys() == OURS | {"default"}
