"""`make audit` passes only what was looked at."""

import subprocess

import pytest

from tests.root import ROOT

FOUND = "Found 2 known vulnerabilities in 1 package"
CLEAN = "No known vulnerabilities found"


@pytest.fixture
def audit(tmp_path):
    """`audit("what pip-audit says", code)`: run it over an environment with that pip-audit."""

    def run(says, code):
        for name, script in {
            "bin/uv": "exit 0",
            "audit/bin/pip-audit": f"echo 'of '$*; echo '{says}' >&2; exit {code}",
        }.items():
            (tmp_path / name).parent.mkdir(parents=True)
            (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
            (tmp_path / name).chmod(0o755)
        command = ["sh", ".ci/audit", str(tmp_path)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    return run


def test_what_has_no_known_vulnerability_passes(audit):
    done = audit(CLEAN, 0)

    assert (done.returncode, done.stderr) == (0, f"{CLEAN}\n")
    assert "--strict" in done.stdout  # else what the service does not know passes
    assert "--requirement requirements.lock" in done.stdout


def test_what_is_vulnerable_does_not(audit):
    done = audit(FOUND, 1)

    assert (done.returncode, done.stderr) == (1, f"{FOUND}\n")


@pytest.mark.parametrize(
    "says",
    ["ERROR: pika: Dependency not found on PyPI and could not be audited", "ConnectionError"],
)
def test_nor_does_what_nobody_could_be_asked_about(audit, says):
    done = audit(says, 1)

    assert done.returncode == 2
    assert says in done.stderr
    assert "cannot be asked from here" in done.stderr
