"""What a test run prints while it runs."""

import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from tests.progress import EVERY_S, Progress, shortened, weight
from tests.root import ROOT


class Terminal:
    """Keeps the lines that are written to it."""

    def __init__(self):
        self.lines = []

    def write(self, text):
        self.lines.append(text.strip("\n"))


@pytest.fixture
def terminal():
    return Terminal()


@pytest.fixture
def progress(terminal):
    manager = SimpleNamespace(get_plugin=lambda _: terminal)
    return Progress(SimpleNamespace(pluginmanager=manager))


def report(nodeid, when="teardown", *, failed=False):
    return SimpleNamespace(nodeid=nodeid, when=when, failed=failed)


def test_a_failure_is_named_when_it_happens(progress, terminal):
    progress.pytest_xdist_node_collection_finished(["tests/library/unit/a", "tests/library/unit/b"])

    progress.pytest_runtest_logreport(report("tests/library/unit/a", "call", failed=True))

    assert terminal.lines == ["FAILED tests/library/unit/a (call)"]


def test_the_time_left_follows_the_weight_of_the_tests_left(progress):
    """By their number alone, the run would seem to be done halfway through."""
    progress.pytest_xdist_node_collection_finished(
        ["tests/library/unit/a"] * 8 + ["tests/library/e2e/b"]
    )
    progress.began = time.monotonic() - 60

    for _ in range(8):
        progress.pytest_runtest_logreport(report("tests/library/unit/a"))

    share = 8 * weight("tests/library/unit/a") / weight("tests/library/e2e/b")
    left = round(60 / share / 60)
    assert progress.line() == f"8 of 9 tests, 0 failed; about 1 min gone, about {left} min left"


def test_a_line_comes_when_the_last_one_is_old(progress, terminal):
    progress.pytest_xdist_node_collection_finished(["tests/library/unit/a"] * 3)

    progress.pytest_runtest_logreport(report("tests/library/unit/a"))
    progress.last -= EVERY_S + 1
    progress.pytest_runtest_logreport(report("tests/library/unit/a"))
    progress.pytest_runtest_logreport(report("tests/library/unit/a"))

    (line,) = terminal.lines
    assert line.startswith("2 of 3 tests, 0 failed; less than a minute gone")


FAILS = """
def test_fails_after_many_words():
    for number in range(50_000):
        print("line", number)
    assert False
"""


def test_long_output_of_a_failed_test_is_cut_in_the_middle(tmp_path):
    """Otherwise a run with 58 failures prints half a million lines."""
    (tmp_path / "test_example.py").write_text(FAILS)

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.progress", "-p", "no:cacheprovider", "."],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    lines = done.stdout.splitlines()
    assert {"line 0", "line 49999", "[… 49800 lines are left out …]"} <= set(lines)
    assert len(lines) < 250


def test_one_long_line_is_cut_in_the_middle():
    assert len(shortened("x" * 10**7)) < 10**5
    assert shortened("short\nenough\n") == "short\nenough\n"
