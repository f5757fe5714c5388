"""What arrives on a connection is read with few system calls, and completely."""

import socket
import ssl
from concurrent.futures import ThreadPoolExecutor

import pika
import pytest
from pika.adapters.utils.io_services_utils import _AsyncPlaintextTransport, _AsyncSSLTransport

from tests.tls import authority
from workshed.transport.amqp.fast_connection import READ_BYTES, FastConnection


class Loop:
    """Ignores what it is asked to watch."""

    def set_reader(self, *_):
        """Ignore."""

    def add_callback_threadsafe(self, _):
        """Ignore."""


class CountedSocket:
    """A socket that counts its reads."""

    def __init__(self, sock):
        self._sock, self.reads = sock, 0

    def fileno(self):
        return self._sock.fileno()

    def recv(self, size):
        self.reads += 1
        return self._sock.recv(size)


@pytest.fixture
def connect(monkeypatch):
    """`connect(transport, sock)`: a connection that has just been opened, and what it reads."""
    monkeypatch.setattr(pika.SelectConnection, "_on_stream_connected", lambda _: None)

    def make(transport, sock):
        made = FastConnection.__new__(FastConnection)
        received = []
        made.data_received = received.append
        made._transport = transport(sock, made, Loop())
        made._on_stream_connected()
        return made, received

    return make


def test_a_full_prefetch_of_small_messages_is_one_read(connect):
    """pika would make 15 reads, and one more that finds nothing."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        counted = CountedSocket(ours)
        made, received = connect(_AsyncPlaintextTransport, counted)
        theirs.sendall(b"a" * READ_BYTES + b"b" * 100)

        made._transport._on_socket_readable()
        assert received == [b"a" * READ_BYTES]
        assert counted.reads == 1
        made._transport._on_socket_readable()  # the loop calls again, as the socket has more

    assert received[1:] == [b"b" * 100]


def test_tls_is_read_until_it_has_no_more(connect):
    """A read returns one record, of which a full prefetch needs several."""
    with authority() as issuer:
        theirs_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        theirs_context.load_cert_chain(**issuer.issue())
        ours_context = ssl.create_default_context(cafile=issuer.file)
        ours, theirs = socket.socketpair()
        with ThreadPoolExecutor() as other:
            accepted = other.submit(theirs_context.wrap_socket, theirs, server_side=True)
            encrypted = ours_context.wrap_socket(ours, server_hostname="localhost")
            accepting = accepted.result(60)
        with encrypted, accepting:
            encrypted.setblocking(False)
            made, received = connect(_AsyncSSLTransport, encrypted)
            accepting.sendall(b"a" * 50_000)

            made._transport._on_socket_readable()

    assert b"".join(received) == b"a" * 50_000
    assert len(received) > 1
