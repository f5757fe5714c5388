"""`workshed worker parts`, on the fresh database and virtual host of each test."""

import os

import pytest
from dramatiq import Message

from tests.library.e2e.workers.supervised import ACTORS, Supervised, wait_until_up
from workshed import Queue
from workshed.devserver.ports import find_free_ports


@pytest.fixture
def environment(database, vhost, mail_server, tmp_path, monkeypatch):
    """Environment variables with which a process finds the servers and the actors of this test."""
    (tmp_path / "parts.py").write_text(ACTORS)
    (tmp_path / "notes.txt").touch()
    monkeypatch.setenv("NOTES", str(tmp_path / "notes.txt"))
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture
def notes(tmp_path, environment):
    """`notes("end")`: (number, version of the code, pid) of finished runs, with repeats."""
    file = tmp_path / "notes.txt"
    return lambda word: [
        tuple(map(int, line.split()[1:]))
        for line in file.read_text().splitlines()
        if line.startswith(word)
    ]


@pytest.fixture
def ended(notes):
    """The numbers of the jobs that have ended."""
    return lambda: {number for number, _, _ in notes("end")}


@pytest.fixture
def supervise(environment, numbers, broker, tmp_path, eventually):
    """Start `workshed worker parts -p 3 -t 2`, or a variant; returns once it logs that all are up.

    By default without the exporter, because that is one more process to start. With it, on a port
    of its own: on the usual ones, a relay of another test could take the port while the exporter is
    replaced, and answer in its place.
    """
    started = []

    def start(*options, modules=("parts",), processes=3, exporter=False, env=None, up=True):
        port = {"WORKSHED_METRICS_PORT": str(find_free_ports(1)[0])}
        one = Supervised(
            ["-p", str(processes), "-t", "2", *options, *modules],
            {**environment, **(port if exporter else numbers), **(env or {})},
            tmp_path / f"supervised-{len(started)}.log",
        )
        started.append(one)
        if up:
            wait_until_up(one, eventually)
        return one

    yield start
    for one in started:
        one.end()


@pytest.fixture
def wires(proxy, vhost, database):
    """Proxies in front of RabbitMQ and PostgreSQL."""
    return proxy(vhost), proxy(database)


@pytest.fixture
def through(wires, vhost, database):
    """The environment variables of programs that go through these proxies."""
    rabbitmq, postgres = wires
    return {
        "WORKSHED_BROKER_URL": rabbitmq.url(vhost),
        "WORKSHED_DATABASE_URL": postgres.url(database),
    }


@pytest.fixture
def send(broker, environment):
    """Send by name, as a program without the actors would."""
    broker.add_queue(Queue("parts"))
    yield lambda actor, *args: broker.enqueue(Message("parts", actor, args, {}, {}))
    del broker.declared_queues["parts"]
