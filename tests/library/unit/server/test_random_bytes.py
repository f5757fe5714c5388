"""Requests with random damage, as bytes: the server answers, or closes, and logs no error."""

import random
import re
import socket

import pytest

from tests.library.unit.server.conftest import read_all
from workshed.console.web.server import protocol

REQUESTS = (
    b"GET /hello HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n",
    b"GET /hello HTTP/1.0\r\n\r\n",
    b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"HEAD /hello HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n",
    b"HEAD /hello HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\nname=x&csrf=y",
    (
        b"POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5\r\nname=\r\n3;a=b\r\nx&y\r\n0\r\n\r\n"
    ),
    b"POST /early HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nabcd",
    (
        b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\nGET /hello HTTP/1.1\r\nHost: x\r\n\r\n"
    ),
    b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    b"CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
)
PIECES = (
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b":",
    b"\x00",
    b"\xff",
    b"0\r\n\r\n",
    b"%00",
    b"A" * 9_000,
)
STATUS = re.compile(rb"HTTP/1\.1 ([1-4]\d\d) ")
AT_ONCE = 20


def damage(rng, sent):
    """Return some requests, one after the other, with a few random changes."""
    for _ in range(rng.randrange(4)):
        start = rng.randrange(len(sent) + 1)
        end = rng.randrange(start, min(len(sent), start + 20) + 1)
        piece = rng.choice((b"", rng.choice(PIECES), rng.randbytes(3), sent[start:end] * 2))
        sent = sent[:start] + piece + sent[end:]
    return sent[: rng.randrange(len(sent) + 1)] if rng.random() < 0.2 else sent


@pytest.mark.timeout(1800)
def test_random_bytes_are_answered_or_end_the_connection(
    serve, connect, lane, caplog, monkeypatch, request, eventually
):
    monkeypatch.setattr(protocol, "REQUEST_S", 0.2)
    given = request.config.getoption("fault_seed")
    seed = random.randrange(10**6) if given is None else given  # noqa: S311 -- to repeat it
    rng = random.Random(seed)  # noqa: S311 -- likewise
    site = serve()
    for _ in range(lane(sample=10, exhaustive=100)):
        all_sent = [
            damage(rng, b"".join(rng.choices(REQUESTS, k=rng.randrange(1, 4))))
            for _ in range(AT_ONCE)
        ]
        connections = [connect(site, sent) for sent in all_sent]
        for connection in connections[:: rng.randrange(1, 5)]:
            connection.shutdown(socket.SHUT_WR)
        for sent, connection in zip(all_sent, connections, strict=True):
            received = read_all(connection)
            connection.close()
            assert not received or STATUS.match(received), (seed, sent, received)

    assert "Traceback" not in caplog.text, seed
    eventually(lambda: len(site.table) == 0)
