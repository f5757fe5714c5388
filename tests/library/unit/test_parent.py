"""The parent of a process, and whether it still runs, under every start method."""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.processes import popen
from workshed import parent

METHODS = ["fork", "forkserver", "spawn"]
LONGEST_S = 90.0
"""After this a family is killed, which ends the wait for a line that does not come."""

# The master prints its pid, and its children the pid that they take for it. `stay` holds copies of
# what a fork inherits from the master, for as long as it runs.
FAMILY = """
import multiprocessing, os, sys, time
from workshed import parent

def say(*words):
    # In one call, because with PYTHONUNBUFFERED the words of several processes would mix.
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def watch():
    say("watcher", os.getpid(), parent.parent_pid(), parent.is_orphan())
    while not parent.is_orphan():
        time.sleep(0.01)
    say("orphan")

def die():
    parent.die_with_parent()
    say("tied", os.getpid(), parent.parent_pid(), parent.is_orphan())
    time.sleep(600)

def stay():
    time.sleep(600)

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    say("master", os.getpid(), os.getppid())
    for what in (watch, die, stay):
        child = multiprocessing.Process(target=what)
        child.start()
        say(what.__name__, child.pid)
    time.sleep(600)
"""


@pytest.fixture
def family(tmp_path):
    """Start a master with its children by a method; end all of them with the test."""
    (tmp_path / "family.py").write_text(FAMILY)

    @contextlib.contextmanager
    def start(method):
        command = [sys.executable, "family.py", method]
        pipe = subprocess.PIPE
        path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(Path.cwd())]))
        with popen(
            command,
            stdout=pipe,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,
        ) as master:
            alarm = threading.Timer(LONGEST_S, end, (master.pid,))
            alarm.start()
            try:
                yield master
            finally:
                alarm.cancel()
                end(master.pid)

    return start


def end(leader):
    """Kill a whole family."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def read_until(lines, expected):
    """Return the words after each first word, once all that are wanted have come."""
    found = {}
    while not expected <= set(found):
        line = next(lines, None)
        assert line is not None, f"only {found} came within {LONGEST_S:g} s, and not {expected}"
        word, *rest = line.split()
        found[word] = rest
    return found


@pytest.mark.parametrize("method", METHODS)
def test_a_child_names_its_master_and_sees_it_die(method, family):
    """`os.getppid()` would be the fork server's pid, which outlives the master."""
    with family(method) as master:
        lines = iter(master.stdout)

        said = read_until(lines, {"watcher", "tied", "stay"})

        assert said["watcher"][1:] == said["tied"][1:] == [str(master.pid), "False"]
        os.kill(master.pid, signal.SIGKILL)
        read_until(lines, {"orphan"})
        wait_until_ended(int(said["tied"][0]))


def wait_until_ended(pid):
    """Return once a process that is not a child of this one has ended."""
    with contextlib.suppress(ProcessLookupError):
        fd = os.pidfd_open(pid)
        try:
            ended, _, _ = select.select([fd], [], [], 60)
        finally:
            os.close(fd)
        assert ended, "it outlives its master"


def test_a_child_whose_parent_died_before_it_was_watched_ends():
    code = "from workshed import parent; parent.die_with_parent(1 << 30)"

    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=60)

    assert done.returncode == -signal.SIGTERM


def test_only_linux_is_asked_to_watch_the_parent(monkeypatch):
    """The C library of macOS has no prctl; processes there run without it."""

    def library(_):
        raise AssertionError("asked")

    monkeypatch.setattr(ctypes, "CDLL", library)
    monkeypatch.setattr(sys, "platform", "darwin")
    parent.die_with_parent(os.getppid())

    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(AssertionError, match="asked"):
        parent.die_with_parent(os.getppid())
