"""The remedies and tests that the fault campaign names exist."""

import json
import re
import sys

import pytest

from tests.faults import __main__ as campaign
from tests.faults.experiment import (
    FAILED,
    KEY,
    ROOT,
    Experiment,
    Remedy,
    Result,
    all_experiments,
    run_test,
)
from tests.faults.numbers import NUMBERS
from tests.faults.outcome import Outcome, Run
from tests.faults.table import Results, page
from tests.faults.test_every_line import POINTS

EXPERIMENTS = all_experiments()


def test_each_of_the_seventeen_has_a_test():
    assert [number.number for number in NUMBERS] == list(range(1, 18))


@pytest.mark.parametrize("number", NUMBERS, ids=lambda n: n.number)
def test_its_remedy_and_its_test_are_there(number):
    """Otherwise a rewritten remedy could no longer be taken out, and that would go unnoticed."""
    text = (ROOT / number.remedy.file).read_text()
    file, _, name = number.node.partition("::")

    assert text.count(number.remedy.old) == 1, number.remedy
    assert f"def {name}(" in (ROOT / file).read_text()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_remedy_of_an_experiment_exists(name):
    remedy = EXPERIMENTS[name].remedy

    assert (ROOT / remedy.file).read_text().count(remedy.old) == 1, remedy


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.name)
def test_the_line_at_which_a_process_is_to_end_is_there(point):
    file, line, _ = point.patch

    assert (ROOT / file).read_text().count(line) == 1, line


def test_the_page_has_each_experiment_and_none_that_failed():
    """`make faults` rewrites the page, which must match its JSON."""
    path = ROOT / "docs" / "faults.md"
    records = Results(path, list(EXPERIMENTS.values())).read().values()

    assert path.read_text("utf-8") == page(list(records))
    assert [(one["name"], one["fault"], one["load"]) for one in records] == [
        (e.name, e.fault, e.load) for e in EXPERIMENTS.values()
    ]
    assert all(one["passed"] for one in records)


def test_a_remedy_is_missing_in_the_processes_of_a_test(tmp_path):
    """Lines of a module and of SQL are replaced; the source tree stays unchanged."""
    (tmp_path / "test_it.py").write_text(IT)
    gone = [
        Remedy("workshed/jobs/outbox/claims.py", "AND due_at <= workshed.now()", "AND true"),
        Remedy(
            "workshed/transport/consuming/settlement.py",
            "FIRST_PAUSE_S = 0.05",
            "FIRST_PAUSE_S = 9.0",
        ),
        Remedy("workshed/sql/0001_baseline.sql", "CREATE TABLE workshed.batches", "CREATE VIEW"),
    ]
    noted = tmp_path / "noted"

    done = run_test(f"{tmp_path}/test_it.py", "-c", "/dev/null", without=gone, patched=noted)

    assert done.returncode == 0, done.stdout + done.stderr
    assert {line.split()[1] for line in noted.read_text().splitlines()} == {
        remedy.file for remedy in gone
    }


IT = """
import inspect
from importlib import resources
from workshed.transport.consuming import settlement as steps
from workshed.jobs.outbox import claims as windows

def test_it():
    sql = resources.files("workshed") / "sql" / "0001_baseline.sql"
    assert "CREATE VIEW" in sql.read_text("utf-8")
    assert any("AND true" in str(one.__code__.co_consts) for one in vars(windows).values()
               if inspect.isfunction(one))
    assert steps.FIRST_PAUSE_S == 9  # in a package with a pytest plugin
"""


def test_no_shipped_line_knows_of_the_campaign():
    """The code that takes remedies out is only in the campaign's own folder."""
    for package in ("actors", "brokers", "middleware", "shop", "workshed"):
        for path in (ROOT / package).rglob("*"):
            if path.suffix in {".py", ".sql"}:
                assert not re.search(r"FAULTS_|tests\.faults|sitecustomize", path.read_text()), path


@pytest.mark.parametrize(
    ("changes", "passes"),
    [
        ({}, True),
        ({"code": 1}, False),
        ({"result": None}, False),
        ({"without_code": 0}, False),
        ({"without_code": 2}, False),
        ({"without_result": None}, False),
        ({"without_result": Result(stuck=3)}, False),
        ({"patched": 0}, False),
    ],
    ids=str,
)
def test_an_experiment_passes_where_its_verdict_counts_without_the_remedy(changes, passes):
    """It fails after an error, by another verdict, or if no process ran without the remedy."""
    of = {
        "code": 0,
        "result": Result(),
        "without_code": FAILED,
        "without_result": Result(lost=3),
        "patched": 2,
        **changes,
    }
    e = Experiment(1, "name", "a fault", "a load", KEY, "lost", "test.py::test")
    run = Run(of["code"], of["result"], 0, "")
    without = Run(of["without_code"], of["without_result"], of["patched"], "")

    outcome = Outcome(e, run, without, 1.0)

    assert outcome.passed is passes
    assert outcome.as_json()["passed"] is passes
    assert ("passed" in outcome.line()) is passes


def test_the_command_names_each_experiment(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["tests.faults", "--list", "--json"])

    assert campaign.main() == 0
    rows = json.loads(capsys.readouterr().out)["experiments"]
    assert [one["name"] for one in rows] == list(EXPERIMENTS)
    assert all(one["fault"] and one["load"] for one in rows)


def test_the_command_knows_no_other_experiment(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["tests.faults", "--only", "kill-nothing"])

    assert campaign.main() == 2
    assert "no experiment 'kill-nothing'; there are: kill-everything," in capsys.readouterr().out
