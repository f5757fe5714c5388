"""`make audit` passes only packages that were checked."""

import subprocess

import pytest

from tests.root import ROOT

FOUND = "Found 2 known vulnerabilities in 1 package"
CLEAN = "No known vulnerabilities found"


@pytest.fixture
def audit(tmp_path):
    """`audit("text", code)`: run it with a pip-audit that prints this and exits with `code`."""

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


def test_packages_without_known_vulnerabilities_pass(audit):
    done = audit(CLEAN, 0)

    assert (done.returncode, done.stderr) == (0, f"{CLEAN}\n")
    assert "--strict" in done.stdout  # else packages that the service does not know pass
    assert "--requirement requirements.lock" in done.stdout


def test_vulnerable_packages_do_not_pass(audit):
    done = audit(FOUND, 1)

    assert (done.returncode, done.stderr) == (1, f"{FOUND}\n")


@pytest.mark.parametrize(
    "says",
    ["ERROR: pika: Dependency not found on PyPI and could not be audited", "ConnectionError"],
)
def test_packages_that_could_not_be_checked_do_not_pass(audit, says):
    done = audit(says, 1)

    assert done.returncode == 2
    assert says in done.stderr
    assert "cannot be asked from here" in done.stderr
