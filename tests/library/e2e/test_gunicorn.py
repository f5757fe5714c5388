"""A web application under `gunicorn --preload`, which forks after the application was imported."""

import os
import subprocess
import sys
from collections import Counter
from http.client import HTTPConnection

import pytest

from workshed.devserver.ports import HOST, find_free_ports

APP = """
import os
import dramatiq
from workshed import broker

@dramatiq.actor(broker=broker, queue_name="default")
def greet(number):
    pass

greet.send(-1)  # in the master, before it forks

def app(environ, start_response):
    greet.send(int(environ["PATH_INFO"].strip("/")))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"""


@pytest.fixture
def site(environment, broker, tmp_path, eventually):
    """`site("/7")`: send a request; return the pid of the process that answered."""
    (tmp_path / "webshop.py").write_text(APP)
    (port,) = find_free_ports(1)
    options = ["--preload", "--workers", "2", "--threads", "4", "--bind", f"{HOST}:{port}"]
    log = tmp_path / "gunicorn.log"
    with log.open("wb") as out:
        gunicorn = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", *options, "webshop:app"],
            env={**os.environ, **environment},
            cwd=tmp_path,
            stdout=out,
            stderr=subprocess.STDOUT,
        )

    def ask(path):
        connection = HTTPConnection(HOST, port, timeout=60)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            assert answer.status == 200, log.read_text()
            return int(answer.read())
        finally:
            connection.close()

    try:
        eventually(lambda: log.read_text().count("Booting worker") == 2)
        yield ask
        gunicorn.terminate()
        assert gunicorn.wait(60) == 0, log.read_text()
    finally:
        gunicorn.kill()
        gunicorn.wait(60)


def test_each_request_sends_and_each_worker_has_a_connection(
    site, rabbitmq, in_threads, eventually
):
    """If a child did not forget the master's connection, requests would hang or break it."""
    answered = Counter()
    in_threads(lambda number: answered.update([site(f"/{number}")]), range(80), threads=8)

    assert len(answered) == 2
    eventually(lambda: rabbitmq.depth("default") == 81)

    def pids():
        return [int(name.rpartition(" ")[2]) for name, _ in rabbitmq.connections()]

    eventually(lambda: len(found := pids()) == 3 and set(answered) < set(found))
