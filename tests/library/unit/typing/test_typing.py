"""Type checkers refuse wrong arguments where they are written, and accept right ones.

The other files in this folder mark each wrong line with mypy's code for it. They are never run.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.root import ROOT

# It takes half a minute when nothing is cached.
pytestmark = [pytest.mark.timeout(900), pytest.mark.one_in(2)]

HERE = Path(__file__).parent
FILES = sorted(path for path in HERE.glob("*.py") if path != Path(__file__))
MARK = re.compile(r"# E: ([a-z-]+)$")
REPORTED = re.compile(r"(.+?):(\d+): error: .* \[([a-z-]+)\]$")


def marked():
    """Each wrong line, as its file and number, with its code."""
    return {
        (path.name, number): found[1]
        for path in FILES
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if (found := MARK.search(line))
    }


def differences(refused):
    """The right lines that were refused, and the wrong ones that were not."""
    wrong = marked()
    return sorted(set(refused) - set(wrong)), sorted(set(wrong) - set(refused))


def checked(*command):
    """The output of a type checker that knows this tree, and not another one that is installed."""
    env = {**os.environ, "MYPYPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr  # it found errors and did not crash
    return done.stdout


@pytest.fixture
def project(tmp_path):
    """A basedpyright project of these files."""
    path = tmp_path / "pyrightconfig.json"
    files = [str(path) for path in FILES]
    path.write_text(json.dumps({"include": files, "extraPaths": [str(ROOT)]}))
    return path


def test_mypy_refuses_each_wrong_line_and_no_other():
    said = checked(sys.executable, "-m", "mypy", "--hide-error-context", *map(str, FILES))

    refused = {}
    for found in filter(None, map(REPORTED.match, said.splitlines())):
        refused.setdefault((Path(found[1]).name, int(found[2])), set()).add(found[3])
    assert differences(refused) == ([], [])
    assert {line: code for line, code in marked().items() if code not in refused[line]} == {}


def test_basedpyright_refuses_each_wrong_line_and_no_other(project):
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--level", "error"]
    said = checked(*command, "--pythonpath", sys.executable, "--project", str(project))

    refused = {
        (Path(one["file"]).name, one["range"]["start"]["line"] + 1)
        for one in json.loads(said)["generalDiagnostics"]
    }
    assert differences(refused) == ([], [])
