"""docs/operating.md and servers.md: commands print what they show, apart from ids and times."""

import os
import re
import sys
from datetime import timedelta
from uuid import uuid4

import dramatiq
import pytest

from tests import pages
from tests.library.integration.console.conftest import body
from tests.transcripts import check, follow, shell, steps, typed
from workshed.jobs.control import queues, workers
from workshed.jobs.control.queues import KnownActor
from workshed.jobs.control.workers import QueueReport, WorkerIdentity
from workshed.transport.amqp import topology
from workshed.transport.amqp.arguments import EXCHANGE

PAGE = "docs/operating.md"
SERVERS = "docs/servers.md"
DOCTOR = pages.block(PAGE, "$ workshed doctor")
SENDING = pages.block(PAGE, "$ workshed enqueue deliver_email 7")
WAITING = pages.block(PAGE, "$ workshed scheduled\n")
CANCELLED = pages.block(PAGE, "$ workshed scheduled cancel")
DEAD = pages.block(PAGE, "$ workshed dead\n")
REQUEUED = pages.block(PAGE, "$ workshed dead requeue")
QUEUES = pages.block(PAGE, "$ workshed queues\n")
PURGED = pages.block(PAGE, "$ workshed queues purge")
WORKERS = pages.block(PAGE, "$ workshed workers")
DIFFERS = pages.block(SERVERS, "$ workshed broker check")
SHOP = pages.files("README.md")
BACKUP = pages.block(SERVERS, "pg_basebackup")
NOTE = """
import dramatiq
from workshed import broker

@dramatiq.actor(broker=broker, queue_name="default", time_limit=60_000)
def note(number): ...
"""
VERSIONS = {re.compile(r"\d+(?:\.\d+)+"): "VERSION"}


@pytest.fixture
def channel(declared):
    with topology.open_connection(declared.urls) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        yield channel


@pytest.fixture
def three_died(bury):
    for number in (1, 2, 3):
        text = body(str(number), "send_invoice", [number], "default")
        error = TimeoutError("the printer does not answer")
        bury(str(uuid4()), actor="send_invoice", body=text, error=error)


def test_the_doctor_with_a_worker_that_is_stopped(
    declared, management, mail_server, three_died, rabbitmq, tmp_path, eventually
):
    (tmp_path / "note_jobs.py").write_text(NOTE)
    run = shell(tmp_path, WORKSHED_APP="")  # a project without an App
    run("workshed enqueue note 7 --import note_jobs")
    eventually(lambda: rabbitmq.depth("default") == 1)

    follow(DOCTOR, run, VERSIONS)


@pytest.fixture
def shop_actors(declared, actor, tmp_path, monkeypatch):
    """The module of README."""
    for name, text in SHOP.items():
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("shop_actors", None)


def test_jobs_are_sent_by_hand(shop_actors, conn, rabbitmq, eventually):
    for command, _ in steps(SENDING):
        check("ID …", typed(command))

    later = "SELECT count(*) FROM workshed.schedule WHERE reason = 'delayed'"
    assert conn.execute(later).fetchone() == (2,)
    for queue in ("emails", "invoices"):
        eventually(lambda queue=queue: rabbitmq.depth(queue) == 1)


def test_waiting_jobs(broker, store, conn):
    for due in ("90 min", "3 d"):
        store(str(uuid4()), due=due, actor="hello")
    conn.execute("""UPDATE workshed.schedule SET body = replace(body, '[7]', '["x"]')""")

    follow(WAITING)


def test_many_are_cancelled(broker, store, conn):
    queues.declare_actors(conn, [KnownActor("send_digest", "default")])
    store("8c8fc2b3-8d95-4a6a-bbbc-0b6a0d3dbd1b", tags=["user-7"])
    store("a")

    follow(CANCELLED)


def test_dead_jobs(broker, three_died):
    follow(DEAD)


def test_messages_that_could_not_be_stored_are_put_back(channel, rabbitmq, eventually):
    channel.basic_publish("", "emails.dead", b"x")
    eventually(lambda: rabbitmq.depth("emails.dead") == 1)

    follow(REQUEUED)


def test_queue_depths(channel, management, conn, store):
    for queue in ("default", "emails"):
        channel.basic_consume(queue, lambda *_: None)
    queues.declare_queues(conn, {"emails": "classic"})
    queues.pause_queue(conn, "emails")
    for message_id in "abc":
        store(message_id)

    follow(QUEUES)


def test_a_queue_is_purged(channel, store, rabbitmq, eventually):
    for number in range(3):
        message = dramatiq.Message("default", "hello", (number,), {}, {})
        channel.basic_publish("", "default", message.encode())
    eventually(lambda: rabbitmq.depth("default") == 3)
    store("a")

    follow(PURGED)


def test_workers(broker, conn):
    seen = """
        UPDATE workshed.workers
           SET beat_at = workshed.now() - %s::interval, started_at = workshed.now() - %s
         WHERE id = %s
    """
    for host, pid, busy, silent, up in (
        ("web-1", 101, 3, "1 s", timedelta(hours=2)),
        ("web-2", 202, 0, "40 s", timedelta(days=3)),
    ):
        one = WorkerIdentity(uuid4(), host, pid, 8, "v1.2")
        workers.record_heartbeat(
            conn, one, busy, [QueueReport(name, *5 * [None]) for name in broker.declared_queues]
        )
        conn.execute(seen, (silent, up, one.id))

    follow(WORKERS)


def test_a_queue_that_differs_is_named(declared, management, channel):
    channel.queue_delete("bulk")
    channel.queue_declare("bulk", durable=True, arguments={"x-queue-type": "quorum"})
    channel.queue_bind("bulk", EXCHANGE, "bulk")

    follow(DIFFERS, changing={re.compile(r"--vhost \S+"): "VHOST"})


def test_postgresql_is_copied(database, servers, tmp_path):
    server = servers.postgres
    path = f"{server.binaries}:{os.environ['PATH']}"

    said = shell(tmp_path, **server.environment() | {"PATH": path})(BACKUP)

    assert (said, (tmp_path / "copy" / "backup_manifest").exists()) == ("", True)
