"""A sender wakes the workers of its host, and never waits for one."""

import socket
import tempfile
import threading
import time

import pytest

from workshed.transport.taking import table_inbox, wake


@pytest.fixture
def folder(monkeypatch):
    """The folder of the sockets; the path of a socket must be short."""
    with tempfile.TemporaryDirectory() as temporary:
        monkeypatch.setattr(tempfile, "tempdir", temporary)
        yield wake.find_folder()


@pytest.fixture
def sender():
    """What sends the datagrams of a program."""
    found = wake.WakeSender()
    yield found
    found.close()


@pytest.fixture
def listening(folder):
    """`listening(function)`: a worker listens."""
    listeners = []

    def start(function):
        listener = wake.WakeListener(function)
        listener.start()
        listeners.append(listener)
        return listener

    yield start
    for listener in listeners:
        listener.close()


def test_a_datagram_reaches_every_worker(listening, sender):
    woken = [threading.Event(), threading.Event()]
    for event in woken:
        listening(event.set)

    sender.send()

    assert all(event.wait(60) for event in woken)


def test_without_workers_a_sender_sends_nothing(folder, sender):
    sender.send()

    assert list(folder.iterdir()) == []


def test_the_socket_of_a_killed_worker_is_removed(listening, folder, sender):
    listener = listening(lambda: None)
    listener._thread.stop(60)
    listener._socket.close()
    assert len(list(folder.iterdir())) == 1

    sender.send()

    assert list(folder.iterdir()) == []


def test_a_folder_that_others_may_write_is_not_used(folder):
    """Another user could put a socket there that blocks, or learn when jobs are sent."""
    folder.chmod(0o755)

    assert wake.find_folder() is None


def test_a_sender_does_not_wait_for_a_worker_that_reads_nothing(listening, sender):
    listener = listening(lambda: time.sleep(60))

    for _ in range(5_000):
        sender.send()

    listener._thread._stopping.set()


def test_threads_that_send_at_once_leave_one_socket(folder, sender, in_threads, monkeypatch):
    opened, together = [], threading.Barrier(4)

    class Opened(socket.socket):
        def __init__(self, *args):
            super().__init__(*args)
            opened.append(self)
            together.wait(60)

    monkeypatch.setattr(socket, "socket", Opened)
    in_threads(lambda _: sender.send(), range(4), threads=4)

    assert len([one for one in opened if one.fileno() >= 0]) == 1


def test_a_job_starts_without_a_poll(actor, working, monkeypatch, eventually):
    monkeypatch.setattr(table_inbox, "POLL_S", 3_600.0)
    monkeypatch.setattr(table_inbox, "IDLE_POLL_S", 3_600.0)
    ran = []

    @actor(queue_name="default")
    def note(number):
        ran.append(number)

    with working("default") as worker:
        inbox = worker.broker._consumption.inbox
        eventually(lambda: inbox.is_consuming({"default"}))
        note.send(1)
        eventually(lambda: ran == [1])
