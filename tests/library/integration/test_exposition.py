"""The page of metrics, over HTTP."""

import contextlib
import http.client
import socket
import time

import pytest

from workshed.health import http as pages
from workshed.metrics import exposition
from workshed.settings import Settings


def answers():
    """A page with a single number."""
    return "answer 42.0\n"


def free_port(host="127.0.0.1"):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as sock:
        sock.bind((host, 0))
        return min(sock.getsockname()[1], 65_000)


@pytest.fixture
def serve():
    """`serve(source)`: serve it on a free port; its server."""
    with contextlib.ExitStack() as opened:

        def start(source=answers, host="127.0.0.1", port=None):
            config = Settings(metrics_host=host, metrics_port=port or free_port(host))
            server = pages.serve_in_thread(config, {"/metrics": exposition.metrics_page(source)})
            if server is not None:
                opened.callback(server.server_close)
                opened.callback(server.shutdown)
            return server

        yield start


def ask(server, method="GET", path="/metrics", **headers):
    host, port = server.server_address[:2]
    connection = http.client.HTTPConnection(host, port, timeout=60)
    with contextlib.closing(connection):
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read().decode()


def test_the_page_is_plain_text(serve):
    assert ask(serve()) == (200, "text/plain; version=0.0.4; charset=utf-8", "answer 42.0\n")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("HEAD", "/metrics", 200),
        ("GET", "/metrics?name=answer", 200),
        ("GET", "/", 404),
        ("HEAD", "/x", 404),
        ("POST", "/metrics", 405),
        ("DELETE", "/metrics", 405),
        ("BREW", "/metrics", 405),
    ],
)
def test_only_the_page_of_metrics_can_be_read(serve, method, path, status):
    found, _, text = ask(serve(), method, path)

    assert found == status
    assert ("answer" in text) == (status == 200 and method == "GET")


def test_if_a_port_is_taken_the_next_one_is_used(serve):
    first = serve()
    port = first.server_address[1]

    second = serve(port=port)

    assert port < second.server_address[1] < port + pages.PORTS_TRIED
    assert ask(second)[0] == ask(first)[0] == 200


def test_if_no_port_is_free_this_is_logged(serve, monkeypatch, caplog):
    monkeypatch.setattr(pages, "PORTS_TRIED", 1)
    port = serve().server_address[1]

    assert serve(port=port) is None
    assert f"no metrics: ports {port} to {port} of 127.0.0.1 are taken" in caplog.text


def test_a_foreign_address_is_logged(serve, caplog):
    assert serve(host="192.0.2.1", port=9191) is None
    assert "no metrics: cannot listen on 192.0.2.1 port 9191" in caplog.text


def test_an_address_of_ip_version_6_is_listened_on(serve, caplog):
    caplog.set_level("INFO")

    server = serve(host="::1")

    assert ask(server)[0] == 200
    assert f"metrics are at http://[::1]:{server.server_address[1]}/metrics" in caplog.text


def test_a_client_that_sends_nothing_holds_up_no_other(serve):
    server = serve()

    with (
        socket.create_connection(server.server_address),
        socket.create_connection(server.server_address) as half,
    ):
        half.sendall(b"GET /metr")

        assert ask(server)[0] == 200


def exchange(server, *parts):
    """Send bytes as they are, and return the whole answer."""
    with socket.create_connection(server.server_address, timeout=60) as client:
        for part in parts:
            client.sendall(part)
        return b"".join(iter(lambda: client.recv(4096), b""))


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /metrics HTTP/1.0\r\n\r\n", 200),
        (b"GET /metrics HTTP/1.1\n\n", 200),
        (b"GET /metrics\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"\xff\xfe\x00 /metrics HTTP/1.1\r\n\r\n", 405),
        (b"x" * (pages.MOST_BYTES + 1), 400),
    ],
)
def test_each_request_has_one_answer_however_it_is_written(serve, sent, status):
    answer = exchange(serve(), sent)

    assert answer.startswith(f"HTTP/1.1 {status} ".encode())


def test_a_request_may_arrive_in_parts(serve):
    answer = exchange(serve(), b"GET /met", b"rics HTTP/1.1\r\nHost: x", b"\r\n\r", b"\n")

    assert answer.endswith(b"\r\n\r\nanswer 42.0\n")


def test_a_client_that_sends_a_byte_now_and_then_is_cut_off(serve, monkeypatch):
    """With a limit for each byte, it could keep a thread for days."""
    monkeypatch.setattr(pages, "CLIENT_TIMEOUT_S", 1.0)
    began_s = time.monotonic()

    with (
        socket.create_connection(serve().server_address, timeout=60) as client,
        contextlib.suppress(ConnectionError),  # a byte that arrives after the end
    ):
        client.settimeout(0.05)
        while time.monotonic() - began_s < 60:
            client.sendall(b"x")
            with contextlib.suppress(TimeoutError):
                if client.recv(1) == b"":
                    break

    assert time.monotonic() - began_s < 60


def test_metrics_that_cannot_be_read_are_an_error_and_no_empty_page(serve, caplog):
    """Prometheus would take an empty page for the end of every series."""

    def source():
        raise OSError("a broken disk")

    status, _, text = ask(serve(source))

    assert (status, text) == (500, "the metrics cannot be read\n")
    assert "a broken disk" in caplog.text
