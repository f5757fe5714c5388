"""The thread behind each connection: no error ends it, only `close` does."""

import gc
import logging
import os
import resource
import signal
import time

import pytest

from workshed.transport.amqp import connection
from workshed.transport.publishing.publisher import Publisher


@pytest.fixture
def wire(proxy, servers):
    return proxy(servers.broker_url)


@pytest.fixture
def vhost(vhost, wire):
    return wire.url(vhost)


@pytest.fixture
def note(actor):
    return actor(queue_name="default", actor_name="note")(lambda number: None)


def fail(line):
    line._loop.add_callback_threadsafe(lambda: 1 / 0)


@pytest.fixture
def _no_gc():
    """Keep the garbage collector from closing sockets by chance."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_no_gc")
def test_a_failure_leaves_no_second_consumer(note, working, broker, wire, eventually):
    """If the socket stayed open, RabbitMQ would give half of the jobs to a dead consumer."""
    with working("default"):
        note.send(1)
        line = broker._consumer_connection.link
        eventually(lambda: wire.connections == 2)
        lost = line._connection
        fail(line)
        eventually(lambda: line._connection is not lost and line._open.is_set())
        eventually(lambda: wire.connections == 2)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_process_out_of_file_descriptors_sends_again_when_it_has_some(note, broker, eventually):
    """If the thread did not keep trying to restart, it would end, and later sends would fail."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        status = 1
        try:
            run_out_of_files_and_send(note, broker, eventually)
            status = 0
        finally:
            os._exit(status)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def run_out_of_files_and_send(note, broker, eventually):
    failures = []
    handler = logging.Handler()
    handler.emit = failures.append
    logging.getLogger("workshed.transport.amqp.connection").addHandler(handler)
    note.send(1)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    fail(broker._publisher._link)
    eventually(lambda: len([f for f in failures if "it starts again" in f.msg]) >= 3)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    note.send(2)


@pytest.mark.parametrize(("opened", "patience_s"), [(True, 1), (False, 120)])
def test_a_connection_that_gets_no_answer_can_be_closed(
    opened, patience_s, broker, wire, monkeypatch
):
    """If its loop kept running, the thread would outlive the broker, connected or not."""
    monkeypatch.setattr(connection, "CLOSE_TIMEOUT_S", patience_s)
    publisher = Publisher(broker.urls, "publisher")
    if not opened:
        wire.stall()
    assert publisher.wait_until_writable(60 if opened else 0.2) is opened
    thread = publisher._link._thread
    wire.stall()

    started = time.monotonic()
    publisher.close()

    assert not thread.is_alive()
    assert time.monotonic() - started < 60


def test_a_connection_that_is_lost_at_once_is_retried_with_backoff(
    note, broker, wire, monkeypatch, eventually
):
    """Counted as a success each time, each process would reconnect ten times a second."""
    monkeypatch.setattr(connection, "STEADY_S", 60)  # longer than this test takes on a busy machine
    note.send(1)
    line = broker._publisher._link

    for _ in range(5):
        lost = line._connection
        wire.cut()
        eventually(lambda lost=lost: line._connection is not lost and line._open.is_set())

    assert line._failures == connection.MAX_COUNTED_FAILURES + 1
