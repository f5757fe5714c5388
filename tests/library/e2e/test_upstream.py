"""dramatiq's own tests on this broker: they pass, except for the documented differences."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version

import pytest

from tests.companions import sources
from tests.root import ROOT

OURS = ROOT / "tests" / "upstream"
FILES = ("test_actors", "test_callbacks", "test_composition", "test_results", "test_worker")
LONGEST_S = 1500
DIFFERENCES = tomllib.loads((OURS / "differences.toml").read_text())
PYTEST = (
    *("-m", "pytest", "-q", "--tb=short", "-c", os.devnull, "--timeout", "300"),
    *("-p", "no:cacheprovider", "-p", "no:xdist"),
)


@pytest.fixture
def outcomes_of(environment, numbers, vhost, database, tmp_path):
    """`outcomes_of("test_actors")`: how each of its tests ended, and what it printed."""

    def run(file):
        theirs = sources(f"dramatiq=={version('dramatiq')}") / "tests" / f"{file}.py"
        folder = tmp_path / "upstream"
        shutil.copytree(OURS, folder, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "__init__.py").touch()
        (folder / "fixtures.py").rename(folder / "conftest.py")
        shutil.copy(theirs, folder)
        report = tmp_path / "report.json"
        done = subprocess.run(
            [sys.executable, *PYTEST, "--rootdir", str(tmp_path), str(folder)],
            env={
                **os.environ,
                **environment,
                **numbers,
                "WORKSHED_BROKER_URL": vhost,
                "UPSTREAM_REPORT": str(report),
                "WORKSHED_RELAY_FORK": "false",
                "WORKSHED_METRICS": "false",
            },
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
            check=False,
        )
        assert done.returncode in {0, 1}, done.stdout + done.stderr  # all of them ran
        return json.loads(report.read_text()), done.stdout

    return run


@pytest.mark.timeout(LONGEST_S + 60)
@pytest.mark.exhaustive
@pytest.mark.parametrize("file", FILES)
def test_dramatiqs_promises_hold_except_for_the_documented_differences(outcomes_of, file):
    """Any other failure is a defect. If a listed test passes, remove it from the list."""
    outcomes, printed = outcomes_of(file)

    documented = listed("fails", file)
    failed = {name for name, ended in outcomes.items() if ended[0][0] != "passed" or ended[1:]}
    assert sorted(failed - documented.keys()) == [], printed[-20_000:]
    assert sorted(documented.keys() - failed) == [], "these pass, or no longer exist"
    for name, difference in documented.items():
        [(kind, error)] = outcomes[name]  # one entry, so the fixtures raised nothing
        assert kind == "failed", f"{name}: {error}"
        assert re.search(difference["error"], error), f"{name} fails for another reason: {error}"
    assert outcomes.keys() > failed | listed("clocks", file).keys()


def test_each_difference_is_of_a_test_that_runs():
    names = [*DIFFERENCES["fails"], *DIFFERENCES["clocks"]]

    assert {name.partition("::")[0] for name in names} <= set(FILES)
    assert len(names) == len(set(names))


def listed(table, file):
    return {
        name: value for name, value in DIFFERENCES[table].items() if name.startswith(f"{file}::")
    }
