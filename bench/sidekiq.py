"""Run Sidekiq of Debian's packages `ruby-sidekiq` and `valkey-server`, to compare with it."""

import os
import shutil
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from bench.jobs.recording import MARKS_VARIABLE
from bench.marks import Marks
from bench.processes import BenchError, ProcessTree
from workshed.devserver.ports import find_free_ports

PROGRAMS = ("ruby", "sidekiq", "valkey-server", "valkey-cli")
JOBS = str(Path(__file__).parent / "jobs" / "sidekiq.rb")
VERSION = 'require "sidekiq/version"; print Sidekiq::VERSION'
SEND = "Integer(ARGV[0]).times { Noop.perform_async(now_ns) }"
START_S = 30.0
POLL_S = 0.05


def _find(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise BenchError(f"there is no program {program}")
    return path


def find_version() -> str | None:
    """Return the version of Sidekiq; `None` if it, or its Redis, is not installed."""
    if not all(map(shutil.which, PROGRAMS)):
        return None
    done = subprocess.run(
        [_find("ruby"), "-e", VERSION], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else None


@contextmanager
def run_sidekiq(folder: Path, threads: int) -> Generator["Sidekiq"]:
    """Run a worker of Sidekiq, and a Redis (Valkey) that stores nothing on the disk."""
    [port] = find_free_ports(1)
    marks = Marks(folder / f"sidekiq-{port}.marks")
    environment = {
        "BENCH_REDIS_URL": f"redis://127.0.0.1:{port}/0",
        MARKS_VARIABLE: str(marks.path),
        "HOME": str(folder),
    }
    store = [_find("valkey-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    worker = [_find("sidekiq"), "-c", str(threads), "-r", JOBS, "-e", "production"]
    with ProcessTree(store, environment, folder / f"valkey-{port}.log") as server:
        wait_until_up(server, port)
        with ProcessTree(worker, environment, folder / f"sidekiq-{port}.log") as tree:
            yield Sidekiq(tree, marks, environment)


def wait_until_up(server: ProcessTree, port: int) -> None:
    """Wait until the Redis answers; raises `BenchError`."""
    deadline = time.monotonic() + START_S
    while True:
        asked = subprocess.run(
            [_find("valkey-cli"), "-p", str(port), "ping"],
            capture_output=True,
            text=True,
            check=False,
        )
        if asked.stdout.strip() == "PONG":
            return
        if time.monotonic() > deadline:
            raise BenchError(f"valkey-server does not answer: {server.read_log_end()}")
        time.sleep(POLL_S)


class Sidekiq:
    """A running worker of Sidekiq."""

    def __init__(self, tree: ProcessTree, marks: Marks, environment: dict[str, str]) -> None:
        """Take its processes, what its jobs record, and the environment of a sender."""
        self.tree = tree
        self.marks = marks
        self._environment = environment

    def send(self, count: int) -> None:
        """Send so many jobs; raises `subprocess.CalledProcessError` if that fails."""
        subprocess.run(
            [_find("ruby"), "-r", JOBS, "-e", SEND, str(count)],
            env={**os.environ, **self._environment},
            check=True,
        )
