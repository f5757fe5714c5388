"""Actors to test the kit with."""

import json
import os
import re
import subprocess
import sys
import textwrap
from typing import NamedTuple

import pytest

from tests.declaring import declaring
from workshed import broker


@pytest.fixture
def actor():
    """Declare an actor for this test: `@actor(queue_name="default", …)`."""
    with declaring(broker) as decorator:
        yield decorator


@pytest.fixture
def greet(actor):
    """An actor that records in `.greeted` whom it greeted."""
    greeted = []

    def greet(user_id, greeting="hello"):
        greeted.append((user_id, greeting))
        return f"{greeting} {user_id}"

    declared = actor(actor_name="greet")(greet)
    declared.greeted = greeted
    return declared


# Writes at the end of a run which modules it imported and which threads are still running.
PROBE = """
import json, sys, threading
from pathlib import Path

def pytest_runtest_logreport(report):
    with Path("durations").open("a") as file:
        print(report.nodeid, report.duration, file=file)

def pytest_unconfigure(config):
    threads = [thread.name for thread in threading.enumerate()]
    seen = {"modules": sorted(sys.modules), "threads": threads}
    Path("seen.json").write_text(json.dumps(seen))
"""


def pytest_itemcollected(item):
    """`make test` runs a third of the tests that start a pytest; see `tests/lanes.py`."""
    if "project" in item.fixturenames:
        item.add_marker(pytest.mark.one_in(3))


EDITABLE = "ignore:Module already imported so cannot be rewritten:pytest.PytestAssertRewriteWarning"
"""A warning of the editable install of a clone, which a wheel does not cause."""


class Project:
    """Another project with tests, which has Workshed installed and nothing else of this one."""

    def __init__(self, folder, database_url):
        self.folder = folder
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.temporary.chmod(0o1777)
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "TMPDIR": str(self.temporary),
            "WORKSHED_DATABASE_URL": database_url,
            # The tree under test, if it is not the installed one.
            "PYTHONPATH": os.environ.get("PYTHONPATH"),
        }
        self.write("conftest.py", PROBE)

    def write(self, name, text):
        (self.folder / name).write_text(textwrap.dedent(text))

    def run(self, *options):
        """Run its tests; return the exit code and the output."""
        words = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
        words += ["-W", "error", "-W", EDITABLE, *options]
        env = {name: value for name, value in self.environment.items() if value is not None}
        done = subprocess.run(
            words, cwd=self.folder, env=env, capture_output=True, text=True, check=False
        )
        return PytestResult(done.returncode, done.stdout + done.stderr)

    @property
    def seen(self):
        return json.loads((self.folder / "seen.json").read_text())

    @property
    def durations(self):
        """Seconds of each test, all phases together, in order."""
        found = {}
        for line in (self.folder / "durations").read_text().splitlines():
            name, seconds = line.rsplit(" ", 1)
            found[name] = found.get(name, 0) + float(seconds)
        return found


class PytestResult(NamedTuple):
    code: int
    said: str

    def assert_outcomes(self, **expected):
        """Compare the counts of pytest; on a difference show the whole output."""
        *_, last = (line for line in self.said.splitlines() if re.search(r" in [\d.]+s", line))
        counts = re.findall(r"(\d+) (passed|failed|errors?|skipped)", last)
        assert {kind: int(number) for number, kind in counts} == expected, self.said


@pytest.fixture
def project(open_folder, servers):
    return Project(open_folder, servers.database_url)
