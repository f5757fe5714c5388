"""What each process imports, because every package costs memory and time in each of them."""

import importlib.metadata
import os
import signal
import subprocess
import sys

import pytest

TELL = """
import atexit, os, pathlib, signal, sys

def tell(*_):
    pathlib.Path(os.environ["IMPORTED"], str(os.getpid())).write_text("\\n".join(sys.modules))

signal.signal(signal.SIGUSR2, tell)
atexit.register(tell)
"""
"""Each Python runs this when it starts: it then lists its modules on a signal, and at its end."""
SENDING = """
import sys

before = set(sys.modules)  # an editable install has imported much

import parts

parts.make.send(1)
print(*sys.modules.keys() - before)
"""
SENDER = {"dramatiq", "orjson", "pika"}
QUERYING = {"psycopg", "psycopg_pool"}
RUNNER = SENDER | QUERYING | {"cronsim", "psycopg_binary", "typing_extensions"}
ALLOWED = {
    "sender": SENDER,
    "worker": RUNNER,
    "relay": RUNNER,
    "supervisor": set(),
}
"""Packages that are not Python's own, by the kind of process."""
HEAVY = {"asyncio", "email", "http.server", "ssl"}
"""Modules of Python that take megabytes, and that a supervisor does not need."""
SLOW = {"importlib.resources", "multiprocessing", "shutil", "tempfile", "zoneinfo"}
"""Modules of Python that take milliseconds each, and that a sender does not need."""
OF_A_WORKER = (
    "workshed.jobs.dead",
    "workshed.metrics.file_store",
    "workshed.migrate",
    "workshed.transport.consuming.",
    "workshed.transport.consumption",
    "workshed.transport.relay",
    "workshed.transport.worker",
    "workshed.console",
    "workshed.contrib",
    "workshed.testing",
    "workshed.transport.stub",
)
"""Beginnings of modules of Workshed that a program that only sends does not import."""


@pytest.fixture
def imported(environment, tmp_path, monkeypatch, eventually):
    """`imported(pid)`: the packages of a running process, or of one that has ended."""
    (tmp_path / "sitecustomize.py").write_text(TELL)
    (tmp_path / "imported").mkdir()
    monkeypatch.setenv("IMPORTED", str(tmp_path / "imported"))
    monkeypatch.setenv("WORKSHED_APP", "")  # that of the tests has settings of its own
    known = importlib.metadata.packages_distributions().keys() - {"editables", "workshed"}

    def ask(pid):
        file = tmp_path / "imported" / str(pid)
        if not file.exists():
            os.kill(pid, signal.SIGUSR2)
        eventually(lambda: file.exists() and file.read_text())
        found = {name.partition(".")[0] for name in file.read_text().split()}
        return {name for name in found & known if not name.startswith("_")}

    return ask


def test_a_sender_imports_only_what_it_needs_to_send(imported, environment, broker, tmp_path):
    sender = subprocess.Popen(
        [sys.executable, "-c", SENDING],
        env={**os.environ, **environment},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    modules = sender.communicate(timeout=60)[0].split()
    assert sender.returncode == 0

    assert imported(sender.pid) <= ALLOWED["sender"]
    assert SLOW.intersection(modules) == set()
    assert [name for name in modules if name.startswith(OF_A_WORKER)] == []


def test_the_completion_of_a_command_imports_no_pydantic(imported, environment, tmp_path):
    """Its import takes longer than all the rest."""
    completion = {
        "_WORKSHED_COMPLETE": "complete_bash",
        "COMP_WORDS": "workshed jo",
        "COMP_CWORD": "1",
    }
    shell = subprocess.Popen(
        [sys.executable, "-m", "workshed"],
        env={**os.environ, **environment, **completion},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert shell.communicate(timeout=60)[0].split() == ["job", "jobs"]

    assert not imported(shell.pid) & {"pydantic", "rich", "psycopg", "dramatiq", "pika"}


def test_the_processes_of_workshed_worker_import_only_what_they_need(
    imported, supervise, send, ended, eventually, tmp_path
):
    workers = supervise(processes=1, exporter=True)
    send("make", 1)
    eventually(lambda: ended() == {1})

    [worker], [relay] = workers.workers(), workers.relays()
    assert QUERYING <= imported(worker) <= ALLOWED["worker"]
    assert QUERYING <= imported(relay) <= ALLOWED["relay"]
    workers.stop()
    supervisor = workers.process.pid
    assert imported(supervisor) <= ALLOWED["supervisor"]
    modules = (tmp_path / "imported" / str(supervisor)).read_text().split()
    assert HEAVY.intersection(modules) == set()
