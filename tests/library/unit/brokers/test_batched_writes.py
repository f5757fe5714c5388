"""Frames that a connection writes at once: complete and in order, also to a slow RabbitMQ."""

import socket

import pytest
from pika.adapters.utils.io_services_utils import _AsyncPlaintextTransport

from workshed.transport.amqp.fast_connection import FastConnection

LARGE = 1 << 20


class Watchers:
    """What pika's loop is asked to watch; counts the requests."""

    def __init__(self):
        self.requests, self.on_writable = 0, None

    def set_reader(self, _, on_readable):
        """Ignore what arrives."""

    def set_writer(self, _, on_writable):
        """Keep what to call once the socket takes more."""
        self.requests += 1
        self.on_writable = on_writable

    def remove_writer(self, _):
        """Forget it."""
        self.requests += 1
        self.on_writable = None


@pytest.fixture
def watchers():
    """The loop."""
    return Watchers()


@pytest.fixture
def peers():
    """Both ends of a connection."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def connection(watchers, peers):
    """A connection whose socket is open, on pika's own transport."""
    made = FastConnection.__new__(FastConnection)
    made._batched_frames = None
    made._transport = _AsyncPlaintextTransport(peers[0], made, watchers)
    return made


def write(connection, *frames):
    with connection.batched_writes():
        for frame in frames:
            connection._adapter_emit_data(frame)


def read(peer, size):
    found = b""
    while len(found) < size:
        found += peer.recv(size - len(found))
    return found


def test_frames_are_written_without_a_request_to_the_loop(connection, watchers, peers):
    write(connection, b"one", b"two")

    assert peers[1].recv(100) == b"onetwo"
    assert watchers.requests == 0


def test_what_the_socket_does_not_take_waits_before_what_comes_next(connection, watchers, peers):
    write(connection, b"a" * LARGE)
    left = connection._transport.get_write_buffer_size()
    assert 0 < left < LARGE
    found = read(peers[1], LARGE - left)  # so that it would take more now
    write(connection, b"b")
    connection._adapter_emit_data(b"c")

    while watchers.on_writable is not None:
        watchers.on_writable()
        peers[1].setblocking(False)
        while True:
            try:
                found += peers[1].recv(LARGE)
            except BlockingIOError:
                break

    assert found == b"a" * LARGE + b"bc"


def test_a_lost_connection_is_for_pika_to_report(connection, watchers, peers):
    peers[1].close()
    write(connection, b"one")

    assert connection._transport.get_write_buffer_size() == 3
    assert watchers.on_writable is not None
