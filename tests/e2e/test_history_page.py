"""The examples of docs/history.md, run as they stand there."""

import json
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parent.parent.parent / "docs" / "history.md"
BLOCK = re.compile(r"<!-- file: (\S+) -->\n```python\n(.*?)```", re.DOTALL)


@pytest.fixture
def charged(tmp_path, start_worker, run, environment, workshed, eventually):
    """A worker on the module of the page has run its two jobs; the history, the latest first."""
    for name, text in BLOCK.findall(PAGE.read_text("utf-8")):
        (tmp_path / name).write_text(text)
    start_worker("order_actors", env={"WORKSHED_RELEASE": "2026-11-25.1"})
    code, said = run("charge_two.py", **environment)
    assert code == 0, said

    def history():
        found = json.loads(workshed("jobs", "--json"))
        return found if len(found) == 4 else None

    return eventually(history, within_s=20)


def test_each_run_is_in_the_history(charged, workshed):
    ended = sorted((run["actor"], run["outcome"]) for run in charged)

    assert ended == [
        ("charge", "dead"),
        ("charge", "done"),
        ("charge", "retried"),
        ("send_receipt", "done"),
    ]
    assert {run["release"] for run in charged} == {"2026-11-25.1"}
    [paid] = [run for run in charged if (run["actor"], run["outcome"]) == ("charge", "done")]
    [child] = json.loads(workshed("jobs", "--parent", paid["message_id"], "--json"))
    assert child["actor"] == "send_receipt"
    for words in (["--failed"], ["--argument", "order_id=8"], ["--error", "GatewayError"]):
        found = json.loads(workshed("jobs", "--json", *words))
        assert sorted(run["outcome"] for run in found) == ["dead", "retried"], words


def test_a_job_is_told_as_the_page_has_it(charged, workshed):
    [died] = [run for run in charged if run["outcome"] == "dead"]

    said = workshed("job", died["message_id"])

    shown = PAGE.read_text("utf-8").partition("$ workshed job ")[2].partition("…")[0]
    events = re.compile(r"^[-\d]{10} [\d:.]{12}  (\w+)", re.MULTILINE)
    assert events.findall(said) == events.findall(shown) != []
    assert "4222-2222-2222" not in said
    assert said.rstrip().endswith("GatewayError: card [redacted] is refused")


def test_a_persons_data_are_erased(charged, workshed, count):
    words = ("erase", "--argument", "order_id=8")
    shown = PAGE.read_text("utf-8").partition("--dry-run\n")[2].partition("Nothing was")[0]

    assert [line.split() for line in workshed(*words, "--dry-run").splitlines()] == [
        line.split() for line in shown.splitlines()
    ]
    workshed(*words, "--yes")

    assert count("jobs.dead") == 0
    assert count("jobs.runs WHERE arguments::text LIKE '%8%'") == 0
    assert count("jobs.runs WHERE arguments::text LIKE '%7%'") == 2
