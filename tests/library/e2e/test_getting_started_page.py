"""docs/getting-started.md: its commands print what the page shows, except for ids and times."""

import os
import signal
import subprocess
import sys

import pytest

from tests import installing, pages
from tests.transcripts import QUIET, alike, begin, check, shell, steps
from workshed import __version__

PAGE = "docs/getting-started.md"
FILES = pages.files(PAGE)
INSTALL = pages.block(PAGE, "install")
SERVERS = pages.block(PAGE, "servers")
WITHOUT_RABBITMQ = pages.block(PAGE, "postgresql")
ENTER = pages.block(PAGE, "enter")
WORKER = pages.block(PAGE, "worker")
SESSION = pages.block(PAGE, "run")
TEST = pages.block(PAGE, "test")
UP = "1 worker and a relay are up"
READY = "Ctrl-C stops everything"


def is_ready(log, process, sign):
    """Return whether a program has printed this; fail if it has ended instead."""
    assert process.poll() is None, log.read_text()
    return sign in log.read_text()


@pytest.mark.parametrize("transport", ["rabbitmq", "postgresql"], indirect=True)
def test_the_page_shows_what_is_printed(broker, environment, count, eventually, tmp_path):
    """Worker and commands run as in two terminals, on servers like those of `workshed dev`."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    log, run = tmp_path / "worker.log", shell(tmp_path, **environment, **QUIET)
    assert WORKER.startswith(ENTER)
    worker = begin(WORKER.removeprefix(ENTER), log, **environment)
    try:
        assert UP in pages.text(PAGE)
        eventually(lambda: is_ready(log, worker, UP))

        sent = 0
        for command, shown in steps(SESSION):
            check(shown, run(command))
            sent += command.startswith(("python", "workshed enqueue"))
            # Runs are written twice a second, and the next job must come after this one.
            eventually(lambda jobs=sent: count("workshed.runs") == jobs)
        for command, shown in steps(TEST):
            check(shown, run(command))
    finally:
        os.killpg(worker.pid, signal.SIGTERM)
        worker.wait(60)

    assert "Hello, Ada!" in log.read_text()
    assert "Hello, Berta!" in log.read_text()


class Reader:
    """A person who pastes the blocks into terminals, with nothing installed and no settings."""

    def __init__(self, home, wheels, constraints):
        self.home, self.folder = home, home / "hello"
        kept = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        links = f"{kept.get('PIP_FIND_LINKS', '')} {wheels}"
        self.env = {
            **kept,
            "PIP_CONSTRAINT": str(constraints),
            "PIP_FIND_LINKS": links,
            "PATH": f"{sys.base_prefix}/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": str(home),
            "COLUMNS": "100",
        }

    def paste(self, script, folder=None, code=None):
        """Run a block in a new terminal and return its output."""
        done = subprocess.run(
            ["sh", "-c", script],
            cwd=folder or self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
            check=False,
        )
        assert code in (None, done.returncode), done.stdout
        return done.stdout

    def leave_running(self, script, log):
        """Run a block that does not end, as the leader of a process group."""
        with log.open("wb") as out:
            return subprocess.Popen(
                ["sh", "-c", script],
                cwd=self.folder,
                env={**self.env, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


@pytest.fixture
def reader(wheel, open_folder):
    """A reader for whom pip finds the wheel as `workshed`, and what the lock has."""
    lines = [*(line for _, line in installing.pins()), f"workshed=={__version__}"]
    constraints = open_folder / "constraints.txt"
    constraints.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return Reader(open_folder, wheel.parent, constraints)


@pytest.mark.exhaustive  # pip installs an environment
@pytest.mark.timeout(900)
@pytest.mark.parametrize("servers", [SERVERS, WITHOUT_RABBITMQ], ids=["rabbitmq", "postgresql"])
def test_a_reader_with_nothing_installed_can_follow_the_page(
    reader, open_folder, eventually, servers
):
    """The one change: `workshed dev` keeps its data in a folder of this test."""
    dev = servers.replace("workshed dev", f"workshed dev --state {open_folder / 'state'}")
    logs = [open_folder / "dev.log", open_folder / "worker.log"]
    running = []
    try:
        reader.paste(INSTALL, reader.home, code=0)
        for name, text in FILES.items():
            (reader.folder / name).write_text(text)
        for log, script, sign in zip(
            logs, (f". .venv/bin/activate\n{dev}", WORKER), (READY, UP), strict=True
        ):
            process = reader.leave_running(script, log)
            running.append(process)
            eventually(lambda at=(log, process, sign): is_ready(*at))
        for command, shown in [*steps(SESSION), *steps(TEST)]:
            eventually(lambda at=(command, shown): is_shown(reader, *at))
    finally:
        for process in reversed(running):
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(120)


def is_shown(reader, command, output):
    """Return whether a command prints what the page shows; only lists are asked for twice."""
    said = reader.paste(ENTER + command)
    if command.startswith(("workshed jobs", "workshed dead")):
        return alike(output, said)
    check(output, said)
    return True
