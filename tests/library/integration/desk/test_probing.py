"""`/livez` and `/readyz` of the console, which need no login."""

import threading
import time

import psycopg

from workshed.console.web import probes


def test_without_a_login_probes_answer_only_alive_and_ready(browsers):
    client = browsers().client

    for path in ("/livez", "/readyz"):
        answer = client.get(path)

        assert (answer.status_code, answer.text) == (200, "ok\n")
        assert "set-cookie" not in answer.headers
        assert answer.headers["cache-control"] == "no-store"


def test_without_postgresql_it_is_alive_and_not_ready(browsers, servers, eventually):
    client = browsers().client
    assert client.get("/readyz").status_code == 200
    servers.postgres.stop()
    try:
        eventually(lambda: client.get("/readyz").status_code == 503)
        assert client.get("/readyz").text == "PostgreSQL does not answer\n"
        assert client.get("/livez").status_code == 200
    finally:
        servers.postgres.start()

    eventually(lambda: client.get("/readyz").status_code == 200)


def test_many_probes_cause_one_look_a_second(browsers, monkeypatch):
    looks = []
    monkeypatch.setattr(probes, "probe_database", lambda: looks.append(1))
    client = browsers().client

    monkeypatch.setattr(probes, "FRESH_S", 600)

    assert {client.get("/readyz").status_code for _ in range(20)} == {200}
    assert looks == [1]


def test_a_look_that_hangs_holds_up_no_probe(browsers, monkeypatch):
    """Without the limit a probe hangs as long as PostgreSQL does, and takes a thread each time."""
    looks, on = [], threading.Event()

    def hang():
        looks.append(1)
        assert on.wait(60)
        raise psycopg.OperationalError

    monkeypatch.setattr(probes, "probe_database", hang)
    monkeypatch.setattr(probes, "WAIT_S", 0.1)
    client = browsers().client
    began = time.monotonic()
    try:
        assert [client.get("/readyz").status_code for _ in range(3)] == [503, 503, 503]
        assert client.get("/livez").status_code == 200
    finally:
        on.set()

    assert looks == [1]
    assert time.monotonic() - began < 50
