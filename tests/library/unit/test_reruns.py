"""`python -m tests --rerun`: a test that fails once fails no run, and stays no secret."""

import os
import subprocess
import sys

import pytest

from tests.__main__ import MOST_RERUN
from tests.root import ROOT

pytestmark = pytest.mark.one_in(3)  # each test starts programs of its own

EXAMPLE = """
import pathlib, pytest

HERE = pathlib.Path(__file__).parent

@pytest.mark.parametrize("number", range({fails}))
def test_fails(number):
    file = HERE / f"failed-{{number}}"
    failures = file.read_text() if file.exists() else ""
    file.write_text(failures + "x")
    assert len(failures) >= {times}

def test_passes():
    with (HERE / "passed").open("a") as file:
        file.write("x")
"""


@pytest.fixture
def run(tmp_path):
    """`run(fails=2, times=1)`: so many tests fail so many times; returns the ended run."""

    def run(*options, fails, times):
        (tmp_path / "test_example.py").write_text(EXAMPLE.format(fails=fails, times=times))
        return subprocess.run(
            [sys.executable, "-m", "tests", *options, "--rootdir", str(tmp_path), str(tmp_path)],
            cwd=ROOT,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


WORDS = ("--rerun", "-p", "tests.lanes", "-n", "2")


def test_tests_that_pass_the_second_time_are_named_and_the_run_succeeds(run, tmp_path):
    done = run(*WORDS, fails=2, times=1)

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith(
        "These tests failed once and then passed; find out why:\n"
        "  test_example.py::test_fails[0]\n  test_example.py::test_fails[1]"
    )
    assert (tmp_path / "passed").read_text() == "x", "only what failed runs again"


def test_a_test_that_fails_again_fails_the_run(run, tmp_path):
    done = run(*WORDS, fails=1, times=2)

    assert done.returncode == 1
    assert (tmp_path / "failed-0").read_text() == "xx"
    assert "then passed" not in done.stdout


def test_many_failures_are_no_coincidence(run, tmp_path):
    done = run(*WORDS, fails=MOST_RERUN + 1, times=1)

    assert done.returncode == 1
    assert (tmp_path / "failed-0").read_text() == "x"


def test_without_the_option_nothing_runs_again(run, tmp_path):
    done = run(*WORDS[1:], fails=1, times=1)

    assert done.returncode == 1
    assert (tmp_path / "failed-0").read_text() == "x"
