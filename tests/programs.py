"""Programs for tests (workers, commands, a browser) on each test's database and virtual host."""

import contextlib
import functools
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import browser, installing
from tests.processes import started_by

READY = "Worker process is ready for action."
RELAY_READY = "relay is running"
CLOCK = (
    "-c",
    "import sys; sys.argv[0] = 'periodiq'; from periodiq import entrypoint; entrypoint()",
)
"""The code of the program `periodiq`; Workshed recognises it by its name."""
RUNS_S = 240
"""After this time a program is considered hung."""


def mark_programs(item):
    """Mark the tests of an `e2e` module: `make test` runs a fifth, see `tests/lanes.py`."""
    item.add_marker(pytest.mark.one_in(5))
    # They count connections, and killed processes leave some for a while.
    item.add_marker(pytest.mark.fresh_vhost)


class Worker:
    """A `dramatiq` master with its workers and relay, in its own process group."""

    def __init__(self, warm, words, environment, log: Path):
        self.log = log
        env = {**os.environ, **environment}
        self.process = warm.start("dramatiq", *words, env=env, log=log)

    def text(self):
        return self.log.read_text()

    def children(self):
        """Return the worker processes; the fork that supervises the relay comes last."""
        return started_by(self.process.pid)

    def kill(self):
        """Kill all its processes with SIGKILL, without a graceful shutdown."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(60)

    def stop(self, timeout=90):
        """Shut down gracefully and return the exit code."""
        self.process.terminate()
        return self.process.wait(timeout)

    def end(self):
        """Clean up, whatever the test did."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(60)


@contextlib.contextmanager
def started_programs(folder, environment):
    """`start("-m", "dramatiq", …)`: a program of this Python that runs until the block ends."""
    started = []

    def start(*words, **variables):
        process = subprocess.Popen(
            [sys.executable, *words], cwd=folder, env={**environment, **variables}
        )
        started.append(process)
        return process

    try:
        yield start
    finally:
        for process in started:
            process.terminate()
            process.wait(90)


@pytest.fixture
def environment(database, vhost, mail_server, tmp_path):
    """Environment variables with which a process finds the servers of this test."""
    # The folder of the test's own actors, and the tested tree if it is another one than this.
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths)}


@pytest.fixture
def numbers(tmp_path):
    """Environment variables that make workers write metrics to a folder for another process.

    Otherwise each master would look for a port and serve metrics, which few tests need.
    """
    folder = tmp_path / "numbers"
    folder.mkdir()
    return {"PROMETHEUS_MULTIPROC_DIR": str(folder), "WORKSHED_PROBES": "false"}


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The wheel of the library."""

    def build(folder):
        words = ("-m", "hatchling", "build", "-t", "wheel", "-d", str(folder))
        installing.run(sys.executable, *words, cwd=installing.ROOT)

    return next(installing.once_per_run(tmp_path_factory, "wheel", build).glob("*.whl"))


@pytest.fixture(scope="module")
def module_workers():
    """The workers that the tests of a module share, by their start arguments."""
    workers = {}
    yield workers
    for worker in workers.values():
        worker.end()


@pytest.fixture
def start_worker(request, warm, environment, numbers, broker, tmp_path, eventually):
    """Start `dramatiq MODULES -p 1 -t 8`, or with other options; return once it is ready.

    It is forked from a warm process; `test_worker.py` has tests that start one from scratch. In a
    module with `pytestmark = pytest.mark.one_worker`, for tests of a worker's work and not of its
    process, the next test gets the same worker, database and virtual host.
    """
    workers = []
    is_shared = request.node.get_closest_marker("one_worker") is not None
    running = request.getfixturevalue("module_workers") if is_shared else {}

    def start(*modules, processes=1, threads=8, options=(), env=None, ready=True):
        words = *modules, "-p", str(processes), "-t", str(threads), *options
        key = words, frozenset((env or {}).items())
        if key in running and running[key].process.poll() is None:
            return running[key]
        worker = Worker(
            warm,
            words,
            {**environment, **numbers, **(env or {})},
            tmp_path / f"worker-{len(workers)}.log",
        )
        if is_shared:
            running[key] = worker
        else:
            workers.append(worker)
        if ready:
            eventually(lambda: worker.text().count(READY) == processes or worker.process.poll())
            assert worker.process.poll() is None, worker.text()
        return worker

    yield start
    for worker in workers:
        worker.end()


@pytest.fixture
def run_apart(warm, tmp_path):
    """`run_apart("-m", "dramatiq", …, NAME=value)` runs Python to its end.

    It is forked from the warm process too, because most of a command's time goes into imports.
    """

    def run_apart(*words, **env):
        env = {**os.environ, **env}
        return warm.run(*words, env=env, folder=tmp_path, within_s=RUNS_S)

    return run_apart


@pytest.fixture
def run_cold(tmp_path):
    """`run_cold("-P", "-c", …)` does the same from scratch, for tests that depend on imports."""

    def run_cold(*words, **env):
        done = subprocess.run(
            [sys.executable, *words],
            env={**os.environ, **env},
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=RUNS_S,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    return run_cold


@pytest.fixture
def run(run_apart):
    """`run("send.py")` does the same and returns the exit code and output."""

    def run(*words, **env):
        done = run_apart(*words, **env)
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.fixture
def workshed(run_apart, environment):
    """`workshed("dead", "--json")` runs the command and returns its output."""
    return functools.partial(printed, run_apart, environment, "workshed")


def printed(run_apart, environment, module, *words, code=0):
    """Run a command that must end with this code; return its output."""
    done = run_apart("-m", module, *words, **environment)
    assert done.returncode == code, done.stderr
    return done.stdout


@pytest.fixture
def count(conn):
    """Counts rows: `count("workshed_mail.emails WHERE state = 'sent'")`."""
    conn.autocommit = True

    def count(what):
        return conn.execute(f"SELECT count(*) FROM {what}").fetchone()[0]  # noqa: S608

    return count


@pytest.fixture(scope="module")
def chromium():
    """A headless browser."""
    with browser.chromium() as opened:
        yield opened
