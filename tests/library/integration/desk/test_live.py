"""A page that updates itself."""

import contextlib
import http.client
import socket
import threading
import time
import urllib.parse

import pytest
import uvicorn

from workshed.console.web import Who, create_app, live


@pytest.fixture
def address(people, monkeypatch):
    """The console's port, served by this process; a request with `x-host` is an operator's."""
    monkeypatch.setattr(live, "REFRESH_S", 0.05)

    def decide(request):
        return Who("olga", "operator") if request.headers.get("x-host") else None

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(
            uvicorn.Config(create_app(authorize=decide), log_level="warning", lifespan="off")
        )
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join(60)


@contextlib.contextmanager
def stream(port, of, **headers):
    """Yield the updates of a page."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        connection.request("GET", f"/live?of={urllib.parse.quote(of)}", headers=headers)
        yield connection.getresponse()


def page(answer):
    """Return the next version of the page."""
    lines = []
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        text = answer.readline().decode().rstrip("\r\n")
        if text == "" and lines:
            return "\n".join(lines)
        if text.startswith("data: "):
            lines.append(text.removeprefix("data: "))
    raise AssertionError("no page has come")


def test_a_page_is_sent_again_when_it_has_changed(address, conn):
    with stream(address, "/", **{"x-host": "1"}) as answer:
        first = page(answer)

        conn.execute(
            "INSERT INTO workshed.queues (name, kind, paused_at) VALUES ('slow', 'quorum', now())"
        )

        assert "slow" not in first
        assert "slow" in page(answer)


def test_without_a_login_nothing_is_sent(address):
    with stream(address, "/") as answer:
        assert answer.status == 401


def test_a_page_that_does_not_update_itself_is_not_sent(address):
    with stream(address, "/audit", **{"x-host": "1"}) as answer:
        assert answer.status == 404
