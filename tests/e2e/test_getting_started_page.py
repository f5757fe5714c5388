"""docs/getting-started.md: its commands print what stands there, but for ids and times."""

import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

from console.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "getting-started.md").read_text("utf-8")
FILES = re.findall(r"<!-- file: (\S+) -->\n```python\n(.*?)```", PAGE, re.DOTALL)
[SESSION] = re.findall(r"<!-- run -->\n```\n(.*?)```", PAGE, re.DOTALL)
STEPS = [step.partition("\n")[::2] for step in SESSION.split("$ ")[1:]]
"""Each command, with what it prints."""
ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
SPAN = re.compile(r"\b[\d.]+ (ms|s|min)\b")


def masked(text):
    """The words of a text, with ids and times put away."""
    return SPAN.sub("TIME", ID.sub("ID", text)).split()


@pytest.fixture
def shell(broker, monkeypatch, capfd, tmp_path):
    """`shell("workshed jobs")`: what a terminal would show, run in this process."""
    known = broker.actors, broker.queues, broker._signatures
    before = [dict(one) for one in known]
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(sys, "stdin", None)

    def run(line):
        program, *words = shlex.split(line)
        capfd.readouterr()
        if program == "python":
            runpy.run_path(str(tmp_path / words[0]))
        else:
            monkeypatch.setattr(sys, "argv", [program, *words])
            with pytest.raises(SystemExit):
                main()
        return "".join(capfd.readouterr())

    yield run
    sys.modules.pop("hello", None)
    for kept, now in zip(before, known, strict=True):
        now.clear()
        now.update(kept)


def test_who_follows_the_page_sees_what_it_shows(shell, start_worker, count, eventually, tmp_path):
    for name, text in FILES:
        (tmp_path / name).write_text(text)
    worker = start_worker("hello")

    sent = 0
    for command, wanted in STEPS:
        assert masked(shell(command)) == masked(wanted)
        sent += command.startswith(("python", "workshed enqueue"))
        # Runs are written twice a second; and the next job is to come after this one.
        eventually(lambda wanted=sent: count("jobs.runs") == wanted, within_s=30)

    assert "Hello, Ada!" in worker.text()
    assert "Hello, Berta!" in worker.text()
