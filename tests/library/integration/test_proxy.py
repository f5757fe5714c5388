"""The proxy fails as it says, seen by a client of an echoing server."""

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
        """A connection that was cut is what is tested."""


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
def test_what_is_held_is_not_lost(ways, wire, client):
    wire.stall(*ways)
    client.sendall(b"later")
    assert hears_nothing(client)

    wire.resume()
    assert client.recv(10) == b"later"


def test_half_open_swallows_and_says_nothing_while_others_are_served(wire, client, connect):
    wire.half_open()
    client.sendall(bytes(5_000_000))  # more than buffers hold

    assert hears_nothing(client)
    assert said(connect(), b"x") == b"x"


def test_so_many_bytes_more_reach_the_client_and_then_it_ends(wire, client):
    wire.truncate(3, "down")

    assert said(client, b"123456") == b"123"
    assert client.recv(1) == b""


def test_so_many_bytes_more_reach_the_server_and_then_it_ends(wire, server, client, eventually):
    wire.truncate(3, "up")
    client.sendall(b"123456")

    eventually(lambda: wire.connections == 0)
    eventually(lambda: server.heard == b"hello123")


def test_each_connection_has_so_many_bytes_more_and_a_later_one_all(wire, client, connect):
    other = connect()
    assert said(other, b"x") == b"x"
    wire.truncate(3, "down")

    for sock in (client, other):
        assert said(sock, b"123456") == b"123"
        assert sock.recv(1) == b""
    assert said(connect(), b"123456") == b"123456"


def test_the_next_connection_has_so_many_bytes_and_the_one_after_it_all(wire, client, connect):
    wire.truncate_next(3, "down")

    assert said(client, b"123456") == b"123456"
    following = connect()
    assert said(following, b"123456") == b"123"
    assert following.recv(1) == b""
    assert said(connect(), b"123456") == b"123456"


def test_nobody_gets_in_until_it_accepts_again(wire, client, connect):
    wire.refuse()
    with pytest.raises(ConnectionRefusedError):
        connect()
    assert said(client, b"still") == b"still"

    wire.accept()
    assert said(connect(), b"x") == b"x"


def test_each_piece_is_later_by_so_much(wire, client):
    wire.delay(0.1)
    started = time.monotonic()

    assert said(client, b"x") == b"x"
    assert time.monotonic() - started >= 0.2


def test_a_server_that_is_away_ends_the_connection(proxy, wire):
    wire.refuse()
    before = proxy(f"tcp://127.0.0.1:{wire.port}")

    with socket.create_connection(("127.0.0.1", before.port), timeout=60) as sock:
        assert sock.recv(1) == b""
