"""What the console's server does with clients that are slow, many, or do not speak HTTP."""

import http.client
import resource
import time

import pytest

from tests.library.unit.server.conftest import BUFFER_BYTES, HANGS_S, read_all
from workshed.console.web.server import build, protocol
from workshed.console.web.view.safe_headers import HEADERS

HALF = b"GET /hello HTTP/1.1\r\nHost: x\r\nX-Half: "
HALF_BODY = b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"


def drip(connection):
    """Send a byte now and then until the server has closed the connection; return the answer."""
    connection.settimeout(0.05)
    until, received = time.monotonic() + HANGS_S, bytearray()
    while time.monotonic() < until:
        try:
            connection.sendall(b"x")
            if not (piece := connection.recv(65_536)):
                return bytes(received)
            received += piece
        except TimeoutError:
            continue
        except OSError:
            return bytes(received)
    raise AssertionError("the server waits for ever")


def ask(site, path, host="127.0.0.1", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", site.port, HANGS_S, (host, 0))
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_request_that_arrives_byte_by_byte_is_ended(serve, connect):
    received = drip(connect(serve(), HALF))

    assert received.startswith(b"HTTP/1.1 408 ")


def test_a_body_that_arrives_byte_by_byte_is_ended(serve, connect, eventually):
    site = serve()
    received = drip(connect(site, HALF_BODY.replace(b"100", b"1000000")))

    assert received.startswith(b"HTTP/1.1 408 ")
    eventually(lambda: site.bodies == ["left early"])


def test_the_rest_of_a_body_is_not_awaited_after_the_answer(serve, connect):
    early = HALF_BODY.replace(b"/read", b"/early").replace(b"100", b"1000000")

    assert drip(connect(serve(), early)).startswith(b"HTTP/1.1 200 ")


def test_a_connection_on_which_nothing_is_sent_is_closed_without_an_answer(serve, connect):
    """A browser opens some in advance, and would show the answer instead of the next page."""
    assert read_all(connect(serve())) == b""


def test_an_idle_connection_is_closed(serve, connect):
    idle = connect(serve(), b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")

    assert read_all(idle).endswith(b"hello")


def test_an_answer_may_take_longer_than_a_request(serve, connect):
    slow = connect(serve(), b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

    assert read_all(slow).count(b"piece") == 4


@pytest.mark.parametrize("size_bytes", [50_000, 50_000_000])
@pytest.mark.parametrize("then", ["close", "keep-alive"])
def test_a_client_that_does_not_read_is_not_awaited(
    serve, connect, eventually, monkeypatch, size_bytes, then
):
    """asyncio reports an answer that is not sent only from 64 KiB on."""
    monkeypatch.setattr(protocol, "ANSWER_S", 0.2)
    site = serve()
    sent = f"GET /long?bytes={size_bytes} HTTP/1.1\r\nHost: x\r\nConnection: {then}\r\n\r\n"
    connect(site, sent.encode())

    eventually(lambda: site.server.server_state.total_requests == 1)
    eventually(lambda: len(site.table) == 0)


def read_slowly(connection, for_s):
    """Read small pieces for some time, and then the rest; return how many bytes have arrived."""
    until, received_bytes = time.monotonic() + for_s, 0
    try:
        while time.monotonic() < until and (piece := connection.recv(BUFFER_BYTES)):
            received_bytes += len(piece)
            time.sleep(0.02)
        return received_bytes + len(read_all(connection))
    except ConnectionResetError:
        return received_bytes


def test_a_client_may_read_an_answer_for_longer_than_it_may_take_for_a_request(serve, connect):
    """The application has sent everything, and the connection waits for the next request."""
    long = connect(serve(), b"GET /long?bytes=500000 HTTP/1.1\r\nHost: x\r\n\r\n")

    assert read_slowly(long, for_s=3 * protocol.REQUEST_S) > 500_000


def test_the_time_for_a_request_begins_when_the_answer_before_is_read(serve, connect, eventually):
    site = serve()
    client = connect(site, b"GET /long?bytes=500000 HTTP/1.1\r\nHost: x\r\n\r\n")
    eventually(lambda: site.server.server_state.total_requests == 1)
    client.sendall(HALF)

    received = read_all(client)

    assert received.count(b"x" * 500_000) == 1
    assert received.endswith(protocol.LATE_REQUEST.encode() + b"\n")


@pytest.mark.parametrize(("part_bytes", "is_awaited"), [(1, True), (10_000_000, False)])
@pytest.mark.parametrize("then", ["close", "keep-alive"])
def test_a_client_must_read_some_of_the_answer_in_each_span(
    serve, connect, monkeypatch, part_bytes, is_awaited, then
):
    monkeypatch.setattr(protocol, "ANSWER_S", 1.0)
    monkeypatch.setattr(protocol, "PART_BYTES", part_bytes)
    sent = f"GET /long?bytes=5000000 HTTP/1.1\r\nHost: x\r\nConnection: {then}\r\n\r\n"

    received_bytes = read_slowly(connect(serve(), sent.encode()), for_s=3.0)

    assert (received_bytes > 5_000_000) is is_awaited


def test_half_sent_requests_keep_nothing_from_others(serve, connect, monkeypatch):
    """Not even from a user at the same address, for example behind the same router."""
    monkeypatch.setattr(protocol, "REQUEST_S", HANGS_S)
    monkeypatch.setattr(build, "MOST_PER_CLIENT", 5)
    site = serve()
    half = [connect(site, HALF) for _ in range(20)]

    assert [ask(site, "/hello"), ask(site, "/hello", "127.0.0.2")] == [200, 200]

    assert [read_all(one) for one in half[:16]] == [b""] * 16
    assert len(site.table) <= 5


def test_there_are_never_more_connections_than_files(serve, connect, monkeypatch):
    monkeypatch.setattr(protocol, "REQUEST_S", HANGS_S)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (20, 20))
    site = serve()
    half = [connect(site, HALF, f"127.0.0.{number}") for number in range(1, 31)]

    assert ask(site, "/hello", "127.0.0.99") == 200

    assert [read_all(one) for one in half[:20]] == [b""] * 20
    assert len(site.table) <= 10


def test_connections_beyond_those_that_are_answered_are_refused(
    serve, connect, monkeypatch, eventually
):
    monkeypatch.setattr(build, "MOST_PER_CLIENT", 3)
    site = serve()
    waiting = [connect(site, b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n") for _ in range(3)]
    eventually(lambda: len(site.server.server_state.tasks) == 3)

    assert ask(site, "/hello") == 503
    assert ask(site, "/hello", "127.0.0.2") == 200
    site.end_waits()
    assert all(read_all(one).endswith(b"waited") for one in waiting)


def test_a_proxy_has_no_limit_and_each_client_behind_it_has_one(
    serve, connect, monkeypatch, eventually
):
    monkeypatch.setattr(build, "MOST_PER_CLIENT", 3)
    site = serve("127.0.0.0/8")
    forwarded = b"GET /wait HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: %s\r\n\r\n"
    waiting = [connect(site, forwarded % b"203.0.113.7") for _ in range(3)]
    waiting += [connect(site, forwarded % b"203.0.113.8") for _ in range(3)]
    waiting += [connect(site, b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n") for _ in range(5)]
    eventually(lambda: len(site.server.server_state.tasks) == 11)

    assert ask(site, "/hello", **{"X-Forwarded-For": "203.0.113.7"}) == 429
    assert ask(site, "/hello", **{"X-Forwarded-For": "203.0.113.9"}) == 200
    assert ask(site, "/hello") == 200
    site.end_waits()
    assert all(read_all(one).endswith(b"waited") for one in waiting)


@pytest.mark.parametrize(
    ("proxies", "client"),
    [
        ("", b"127.0.0.1 http"),
        ("none", b"127.0.0.1 http"),
        ("10.0.0.0/8", b"127.0.0.1 http"),
        ("127.0.0.0/8", b"203.0.113.9 https"),
    ],
)
def test_a_forwarded_address_is_not_believed_without_a_setting(serve, connect, proxies, client):
    """Not even from this machine, where it may come through a tunnel."""
    forwarded = (
        b"GET /client HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        b"X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n\r\n"
    )

    assert read_all(connect(serve(proxies), forwarded)).endswith(client)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /hello\r\n\r\n",
        b"GET /hello HTTP/1.1\r\nHost x\r\n\r\n",
        b"GET /hello HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET /hello HTTP/1.1\r\nHost: x\r\n Folded: y\r\nX:\x00\r\n\r\n",
        b"GET /hello HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 70_000,
        b"GET /" + b"y" * 70_000,
        b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\nx",
        b"POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nx",
        b"POST /early HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nx",
    ],
    ids=lambda sent: repr(sent[-30:]),
)
def test_what_is_no_request_is_refused_with_the_headers_of_a_page(serve, connect, caplog, sent):
    received = read_all(connect(serve(), sent)).decode()

    assert received.startswith("HTTP/1.1 400 ")
    assert all(f"{name}: {value}\r\n" in received for name, value in HEADERS.items())
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    ("framing", "status"),
    [
        (b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
        (b"Content-Length: 9\r\n\r\nx", b"408"),
    ],
)
def test_a_refused_request_for_headers_alone_gets_no_body(serve, connect, caplog, framing, status):
    """The connection would stay open for ever, because h11 raises an error for a body."""
    received = read_all(connect(serve(), b"HEAD /wait HTTP/1.1\r\nHost: x\r\n" + framing))

    assert received.startswith(b"HTTP/1.1 " + status)
    assert received.endswith(b"\r\n\r\n")
    assert "Traceback" not in caplog.text


def test_a_body_that_breaks_off_into_nonsense_is_no_error_of_the_server(
    serve, connect, caplog, eventually
):
    """The application still waits for the rest, and then answers a connection that is closed."""
    site = serve()
    broken = connect(
        site, b"POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"
    )
    broken.sendall(b"nonsense\r\n")

    assert read_all(broken).startswith(b"HTTP/1.1 400 ")
    eventually(lambda: site.bodies)
    assert "Traceback" not in caplog.text


def test_a_request_for_another_protocol_is_answered_in_http(serve, connect, caplog):
    upgrade = (
        b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    received = read_all(connect(serve(), upgrade))

    assert received.startswith(b"HTTP/1.1 200 ")
    assert caplog.text == ""


def test_of_requests_that_are_sent_at_once_the_first_is_answered(serve, connect, monkeypatch):
    """Otherwise a client could queue work for the server, and answers that it does not read."""
    monkeypatch.setattr(protocol, "REQUEST_S", HANGS_S)
    request = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"

    assert read_all(connect(serve(), request * 20)).count(b"hello") == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2"])
def test_clients_that_do_not_read_keep_nothing_from_others(
    serve, connect, eventually, monkeypatch, host
):
    """Of any number of addresses: those that have not read for longest make room."""
    monkeypatch.setattr(protocol, "REQUEST_S", HANGS_S)
    monkeypatch.setattr(build, "MOST_CONNECTIONS", 6)
    monkeypatch.setattr(build, "MOST_PER_CLIENT", 4)
    site = serve()
    for number in range(10):
        away = f"127.0.1.{number // 4}" if host == "127.0.0.2" else host
        sent = b"GET /long?bytes=50000000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        connect(site, sent, host=away)
        eventually(lambda count=number + 1: site.server.server_state.total_requests >= count)

    request = b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert read_all(connect(site, request, host=host)).endswith(b"hello")
