"""Checks and commands of an application, as `workshed` finds them in its directory."""

import json
import os
import subprocess
import sys

import pytest

from workshed.app import APP_VARIABLE
from workshed.console.doctor.application import load_application_checks
from workshed.console.doctor.run import Check
from workshed.console.operations.finding import ok

ZOO = """
import workshed

app = workshed.App(
    checks=("birds:check", "birds:checks", "birds:nothing", "broken:check"),
    commands={"feed": "birds:feed"},
)
"""
BIRDS = """
from workshed.console.doctor.run import Check
from workshed.console.operations.finding import failed, ok

check = Check("wings", lambda here: [ok("two")])
checks = (Check("beaks", lambda here: [failed("no beak", "grow one")], needs=("wings",)),)

def feed(*, grams: int = 5) -> None:
    \"\"\"Feed the birds.\"\"\"
    print(f"{grams} g of seeds")
"""


@pytest.fixture
def run(tmp_path):
    """`run("doctor")`: run a command in the directory of a project."""
    (tmp_path / "zoo.py").write_text(ZOO)
    (tmp_path / "birds.py").write_text(BIRDS)
    (tmp_path / "broken.py").write_text("import not_installed\n")
    (tmp_path / "pyproject.toml").write_text("[tool.workshed]\napp = 'zoo:app'\n")
    environ = {name: value for name, value in os.environ.items() if name != APP_VARIABLE}

    def run(*words, **more):
        return subprocess.run(
            [sys.executable, "-P", "-m", "workshed", *words],
            cwd=tmp_path,
            env={**environ, **more},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def test_a_command_is_listed_and_runs(run):
    assert "Feed the birds." in run("--help").stdout
    assert run("feed", "--grams", "7").stdout == "7 g of seeds\n"
    assert "campaigns" not in run("--help").stdout


def test_checks_of_an_application_run_after_ours_and_missing_ones_have_failed(run):
    done = run("doctor", "--json")

    found = [
        (one["check"], one["level"], one["message"])
        for one in json.loads(done.stdout)["checks"]
        if one["check"] in ("wings", "beaks", "birds:nothing", "broken:check")
    ]
    assert done.returncode == 1
    assert found == [
        ("wings", "ok", "two"),
        ("beaks", "failed", "no beak"),
        ("birds:nothing", "failed", "module 'birds' has no 'nothing'"),
        ("broken:check", "failed", "ModuleNotFoundError: No module named 'not_installed'"),
    ]


def test_without_its_application_the_doctor_reports_it_and_goes_on(run):
    done = run("doctor", "--json", **{APP_VARIABLE: "nowhere:app"})

    checks = {one["check"]: one for one in json.loads(done.stdout)["checks"]}
    assert checks["environment"]["level"] == "failed"
    assert "WORKSHED_APP=nowhere:app: there is no module" in checks["environment"]["message"]
    assert checks["environment"]["fix"] == "correct it, or unset WORKSHED_APP"
    assert checks["PostgreSQL"]["level"] == "failed"


def test_a_command_that_workshed_already_has_is_refused(run, tmp_path):
    (tmp_path / "zoo.py").write_text(ZOO.replace('"feed"', '"dead"'))

    done = run("dead")

    assert done.returncode == 2
    assert "your App adds the command 'dead', which Workshed already has" in done.stderr


def check(name, **more):
    return Check(name, lambda _: [ok("")], **more)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (7, "it is of type int; it must be a Check, or a tuple of them"),
        ((7,), "one of its checks is of type int"),
        (check("known"), "there is a check 'known' already"),
        ((check("one"), check("one")), "there is a check 'one' already"),
        (check("one", needs=("two",)), "check 'one' needs two before it in the list"),
        (
            (check("one", after=("two",)), check("two")),
            "check 'one' needs two before it in the list",
        ),
        (check("one", after=("one",)), "check 'one' needs one before it in the list"),
    ],
)
def test_checks_that_cannot_be_run_have_failed(monkeypatch, found, said):
    """A check that waits for one that never comes would make all of them hang."""
    monkeypatch.setattr("workshed.console.doctor.application.load_object", lambda _: found)

    [instead] = load_application_checks(["its:checks"], {"known"})

    [finding] = instead.run(None)
    assert (instead.name, finding.level, finding.message) == ("its:checks", "failed", said)
