"""The proxy fails as ordered, as a client of an echo server sees it."""

import socket
import socketserver
import threading
import time

import pytest


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(1000):
            self.server.heard += data
            self.request.sendall(data)


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    heard = b""

    def handle_error(self, request, client_address):
        """Ignore errors of connections that the test has cut."""


@pytest.fixture
def server():
    with Server(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def wire(proxy, server):
    return proxy(f"tcp://127.0.0.1:{server.server_address[1]}")


@pytest.fixture
def connect(wire):
    opened = []

    def connect():
        opened.append(socket.create_connection(("127.0.0.1", wire.port), timeout=60))
        return opened[-1]

    yield connect
    for sock in opened:
        sock.close()


@pytest.fixture
def client(connect):
    sock = connect()
    assert said(sock, b"hello") == b"hello"
    return sock


def said(sock, data):
    sock.sendall(data)
    return sock.recv(1000)


def hears_nothing(sock):
    sock.settimeout(0.1)
    with pytest.raises(TimeoutError):
        sock.recv(1)
    sock.settimeout(10)
    return True


def test_bytes_are_passed_on_and_counted(wire, client):
    assert (wire.passed("up"), wire.passed("down")) == (5, 5)
    assert (wire.accepted, wire.connections) == (1, 1)


def test_a_reset_and_an_end(wire, client, connect):
    wire.cut()
    with pytest.raises(ConnectionResetError):
        client.recv(1)

    other = connect()
    assert said(other, b"x") == b"x"
    wire.cut(reset=False)
    assert other.recv(1) == b""


@pytest.mark.parametrize("ways", [(), ("up",), ("down",)])
def test_stalled_bytes_are_not_lost(ways, wire, client):
    wire.stall(*ways)
    client.sendall(b"later")
    assert hears_nothing(client)

    wire.resume()
    assert client.recv(10) == b"later"


def test_half_open_swallows_bytes_while_others_are_served(wire, client, connect):
    wire.half_open()
    client.sendall(bytes(5_000_000))  # more than buffers hold

    assert hears_nothing(client)
    assert said(connect(), b"x") == b"x"


def test_only_so_many_more_bytes_reach_the_client(wire, client):
    wire.truncate(3, "down")

    assert said(client, b"123456") == b"123"
    assert client.recv(1) == b""


def test_only_so_many_more_bytes_reach_the_server(wire, server, client, eventually):
    wire.truncate(3, "up")
    client.sendall(b"123456")

    eventually(lambda: wire.connections == 0)
    eventually(lambda: server.heard == b"hello123")


def test_each_open_connection_is_truncated_and_later_ones_are_not(wire, client, connect):
    other = connect()
    assert said(other, b"x") == b"x"
    wire.truncate(3, "down")

    for sock in (client, other):
        assert said(sock, b"123456") == b"123"
        assert sock.recv(1) == b""
    assert said(connect(), b"123456") == b"123456"


def test_only_the_next_connection_is_truncated(wire, client, connect):
    wire.truncate_next(3, "down")

    assert said(client, b"123456") == b"123456"
    following = connect()
    assert said(following, b"123456") == b"123"
    assert following.recv(1) == b""
    assert said(connect(), b"123456") == b"123456"


def test_connections_are_refused_until_it_accepts_again(wire, client, connect):
    wire.refuse()
    with pytest.raises(ConnectionRefusedError):
        connect()
    assert said(client, b"still") == b"still"

    wire.accept()
    assert said(connect(), b"x") == b"x"


def test_each_piece_of_data_is_delayed(wire, client):
    wire.delay(0.1)
    started = time.monotonic()

    assert said(client, b"x") == b"x"
    assert time.monotonic() - started >= 0.2


def test_a_server_that_is_away_ends_the_connection(proxy, wire):
    wire.refuse()
    before = proxy(f"tcp://127.0.0.1:{wire.port}")

    with socket.create_connection(("127.0.0.1", before.port), timeout=60) as sock:
        assert sock.recv(1) == b""
