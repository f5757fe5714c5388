"""Workers on two hosts that share RabbitMQ and PostgreSQL: both work, and one may be cut off."""

import contextlib
import os
import signal
import subprocess
import sys
from collections import Counter
from urllib.parse import urlsplit

import pytest
from dramatiq import Message
from psycopg import sql

from tests.faults.proxy import Proxy
from tests.hosts import Network
from workshed import Queue
from workshed.console.rabbitmq.queue_depths import fetch_depths

ACTORS = """
import socket
import time

import dramatiq

from workshed import Queue, broker, db

broker.add_queue(Queue("parts", prefetch=4))


@dramatiq.actor(broker=broker, queue_name="parts", time_limit=30_000, once=True)
def make(number):
    with db.transaction() as conn:
        conn.execute("INSERT INTO effects VALUES (%s, %s)", (number, socket.gethostname()))
        time.sleep(0.05)  # the work in the transaction takes this long
"""
JOBS = 400
READY = "Worker process is ready for action."
NOTICED = "heartbeat=2"
"""Seconds within which RabbitMQ expects a heartbeat from each host; by default 15."""


@pytest.fixture
def network():
    with Network() as made:
        yield made


@pytest.fixture
def urls(network, vhost, database):
    """The environment variables with which hosts reach the test's servers through the bridge."""
    with contextlib.ExitStack() as opened:

        def at_bridge(url):
            parts = urlsplit(url)
            proxy = opened.enter_context(Proxy(parts.hostname, parts.port, network.address))
            return proxy.url(url)

        yield {
            "WORKSHED_BROKER_URL": f"{at_bridge(vhost)}?{NOTICED}",
            "WORKSHED_DATABASE_URL": at_bridge(database),
        }


@pytest.fixture
def effects(broker, tmp_path, conn):
    """The actor above and its table; `effects()`: the number and the host of each run."""
    (tmp_path / "parts.py").write_text(ACTORS)
    conn.autocommit = True
    conn.execute("CREATE TABLE effects (number int, host text)")
    # A host that is cut off in a transaction keeps its locks until PostgreSQL ends that.
    alter = "ALTER DATABASE {} SET idle_in_transaction_session_timeout = '3s'"
    conn.execute(sql.SQL(alter).format(sql.Identifier(conn.info.dbname)))
    broker.add_queue(Queue("parts"))
    broker.ensure_queues({"parts"})
    yield lambda: list(conn.execute("SELECT number, host FROM effects"))
    del broker.declared_queues["parts"]


@pytest.fixture
def start_on(environment, urls, tmp_path, eventually):
    """Start a worker with its relay on a host; returns once it is ready."""
    started = []

    def start(host):
        log = tmp_path / f"{host.name}.log"
        words = [sys.executable, "-m", "dramatiq", "parts", "-p", "1", "-t", "4"]
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*host.words, *words],
                env={**os.environ, **environment, **urls},
                cwd=tmp_path,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        started.append(process)
        eventually(lambda: READY in log.read_text() or process.poll())
        assert process.poll() is None, log.read_text()

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(60)


def send(broker, numbers):
    broker.enqueue_many([Message("parts", "make", (number,), {}, {}) for number in numbers])


@pytest.mark.fresh_database
def test_a_host_that_is_cut_off_loses_nothing_and_the_other_one_goes_on(
    network, start_on, broker, effects, workshed, eventually
):
    """Jobs that the lost host held come to the other one, and are done once.

    Without the timeout of idle transactions, the copies would wait for the rows that it has locked
    for as long as it is away, and some numbers would be missing.
    """

    def done_by(host):
        return Counter(name for _, name in effects())[host.name]

    lost, other = network.host("host-a"), network.host("host-b")
    start_on(lost)
    start_on(other)
    send(broker, range(JOBS))
    eventually(lambda: min(done_by(lost), done_by(other)) >= 10)
    shown = workshed("workers")

    lost.unplug()

    eventually(lambda: len({number for number, _ in effects()}) == JOBS, within_s=120)
    assert sorted(number for number, _ in effects()) == list(range(JOBS))
    assert "host-a" in shown
    assert "host-b" in shown
    eventually(lambda: "silent" in workshed("workers"))

    before = done_by(lost)
    lost.plug()
    # Otherwise the other one may do all that follows.
    eventually(lambda: fetch_depths(broker.urls, ["parts"], 60)["parts"].consumers == 2)

    send(broker, range(JOBS, 2 * JOBS))
    eventually(lambda: len(effects()) == 2 * JOBS, within_s=120)
    assert done_by(lost) > before
