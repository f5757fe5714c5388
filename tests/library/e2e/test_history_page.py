"""The examples of docs/history.md, run as printed."""

import json
import re
from collections import Counter

import pytest

from tests import pages
from tests.transcripts import check, follow, masked, shell, steps

FILES = pages.files("docs/history.md")
LISTED = pages.block("docs/history.md", "$ workshed jobs")
ONE = pages.block("docs/history.md", "$ workshed job ")
ERASED = pages.block("docs/history.md", "$ workshed erase")
MINUTES = pages.block("docs/history.md", "minutes")
CUT = {re.compile(r"\S*…"): "…"}
"""Texts that were cut: where depends on the width of the spans next to them."""
WORKER = {re.compile(r"(?<=attempt \d on )\S+(?=,)"): "WORKER"}


@pytest.fixture
def charged(tmp_path, start_worker, run, environment, workshed, eventually):
    """Run the two jobs of the page on a worker; return the history, latest first."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    start_worker("order_actors", env={"WORKSHED_RELEASE": "2026-11-25.1"})
    code, said = run("charge_two.py", **environment)
    assert code == 0, said

    def history():
        found = json.loads(workshed("jobs", "--json"))
        return found if len(found) == 4 else None

    return eventually(history)


def test_each_run_is_in_the_history(charged, workshed):
    ended = sorted((run["actor"], run["outcome"]) for run in charged)

    assert ended == [
        ("charge", "dead"),
        ("charge", "retry"),
        ("charge", "succeeded"),
        ("send_receipt", "succeeded"),
    ]
    assert {run["release"] for run in charged} == {"2026-11-25.1"}
    [paid] = [run for run in charged if (run["actor"], run["outcome"]) == ("charge", "succeeded")]
    [child] = json.loads(workshed("jobs", "--parent", paid["message_id"], "--json"))
    assert child["actor"] == "send_receipt"
    for words in (["--failed"], ["--argument", "order_id=8"], ["--error", "GatewayError"]):
        found = json.loads(workshed("jobs", "--json", *words))
        assert sorted(run["outcome"] for run in found) == ["dead", "retry"], words


def test_the_numbers_per_minute_are_those_of_the_runs(charged, connect):
    found = connect().execute(MINUTES).fetchall()

    sums = Counter()
    for _, actor, outcome, runs in found:
        sums[actor, outcome] += runs
    assert sums == Counter((run["actor"], run["outcome"]) for run in charged)


def sorted_lines(text):
    """Sort lines, because two jobs that end at once may be listed in any order."""
    return "\n".join(sorted(text.splitlines(), key=masked))


def test_the_commands_print_what_the_page_shows(charged, environment, count, tmp_path):
    """And erased data is gone."""
    [died] = [run["message_id"] for run in charged if run["outcome"] == "dead"]
    run = shell(tmp_path, **environment)

    [(command, shown)] = steps(LISTED)
    check(sorted_lines(shown), sorted_lines(run(command)), CUT)
    follow(re.sub("[0-9a-f-]{36}", died, ONE), run, WORKER)

    said = run(f"workshed job {died}")
    assert "4222-2222-2222" not in said
    assert (
        "GatewayError: card [redacted] is refused\n\nTo retry it: `" in said
    )  # the end of the traceback

    follow(ERASED, run)

    assert count("workshed.dead") == 0
    assert count("workshed.runs WHERE arguments::text LIKE '%8%'") == 0
    assert count("workshed.runs WHERE arguments::text LIKE '%7%'") == 2
