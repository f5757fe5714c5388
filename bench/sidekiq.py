"""Sidekiq of Debian's packages `ruby-sidekiq` and `valkey-server`, to compare with it."""

import shutil
import subprocess
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

from bench.processes import BenchError, ProcessTree
from workshed.devserver.ports import find_free_ports

PROGRAMS = ("ruby", "sidekiq", "valkey-server", "valkey-cli")
JOBS = Path(__file__).parent / "jobs" / "sidekiq.rb"
SENDER = JOBS.with_name("sidekiq_send.rb")
VERSION = 'require "sidekiq/version"; print Sidekiq::VERSION'
RUBY = 'print RUBY_VERSION, (defined?(RubyVM::YJIT) && " with YJIT" || " without YJIT")'
SETTINGS = {
    "sidekiq": ("--save", "", "--appendonly", "no"),
    "sidekiq durable": (
        *("--save", "", "--appendonly", "yes", "--appendfsync", "always"),
        # It would otherwise rewrite its file in the middle of a round.
        *("--auto-aof-rewrite-percentage", "0"),
    ),
}
"""What the Redis of each peer keeps on the disk: nothing, or each write before its reply."""
ENVIRONMENT = {"RUBY_YJIT_ENABLE": "1"}
"""As Sidekiq measures its speed; a Ruby that was built without YJIT ignores it."""
NOT_INSTALLED = "not compared with Sidekiq: install ruby-sidekiq and valkey-server"
START_S = 30.0
POLL_S = 0.05


def find_program(name: str) -> str:
    """Return the path of a program; raises `BenchError` if it is not installed."""
    path = shutil.which(name)
    if path is None:
        raise BenchError(f"there is no program {name}")
    return path


@cache
def find_version() -> str | None:
    """Return the version of Sidekiq; `None` if it, or its Redis, is not installed."""
    return _run_ruby(VERSION) if all(map(shutil.which, PROGRAMS)) else None


def describe_versions() -> dict[str, str]:
    """Return the versions of Sidekiq, its Ruby and its Redis; nothing if it is not installed."""
    found = find_version()
    if found is None:
        return {}
    said = _output_of(find_program("valkey-server"), "--version")
    redis = next(word for word in said.split() if word.startswith("v="))
    return {
        "sidekiq": found,
        "ruby": _run_ruby(RUBY) or "unknown",
        "valkey": redis.removeprefix("v="),
    }


def worker_command(threads: int) -> Sequence[str]:
    """Return the command of a worker, which is one process."""
    return [find_program("sidekiq"), "-c", str(threads), "-r", str(JOBS), "-e", "production"]


def _run_ruby(program: str) -> str | None:
    done = subprocess.run(
        [find_program("ruby"), "-e", program], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else None


def _output_of(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


class RedisServer:
    """A running Redis (Valkey) of one peer."""

    def __init__(self, port: int, folder: Path, tree: ProcessTree) -> None:
        """Take the port that it listens on, the folder of its files, and its process."""
        self.folder = folder
        self._port = port
        self._tree = tree

    @property
    def url(self) -> str:
        """Return its URL."""
        return f"redis://127.0.0.1:{self._port}/0"

    def wait_until_up(self) -> None:
        """Wait until it answers; raises `BenchError`."""
        deadline = time.monotonic() + START_S
        while self.call("PING") != "PONG":
            if time.monotonic() > deadline:
                raise BenchError(f"valkey-server does not answer: {self._tree.read_log_end()}")
            time.sleep(POLL_S)

    def call(self, *words: str) -> str:
        """Run a command of Redis; return its reply."""
        return _output_of(find_program("valkey-cli"), "-p", str(self._port), *words)

    def cpu_s(self) -> float:
        """Return its CPU time."""
        return self._tree.cpu_s()


@contextmanager
def start_redis(folder: Path) -> Generator[dict[str, RedisServer]]:
    """Run a Redis for each peer that needs one; none if Sidekiq is not installed."""
    with ExitStack() as stack:
        servers = {}
        for peer, settings in SETTINGS.items() if find_version() else ():
            [port] = find_free_ports(1)
            home = folder / f"valkey-{port}"
            home.mkdir()
            command = [find_program("valkey-server"), "--port", str(port), "--dir", str(home)]
            command += ["--bind", "127.0.0.1", *settings]
            tree = stack.enter_context(ProcessTree(command, {}, home / "valkey.log"))
            servers[peer] = RedisServer(port, home, tree)
        for server in servers.values():
            server.wait_until_up()
        yield servers
