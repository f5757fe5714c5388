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
    del sys.modules["hello"], broker.actors["greet"]


def test_who_follows_the_page_sees_what_it_shows(shell, start_worker, count, eventually, tmp_path):
    for name, text in FILES:
        (tmp_path / name).write_text(text)
    worker = start_worker("hello")

    for command, wanted in STEPS:
        if command == "workshed jobs":  # runs are written twice a second
            eventually(lambda: count("jobs.runs") == 3, within_s=30)
        assert masked(shell(command)) == masked(wanted)

    assert "Hello, Ada!" in worker.text()
    assert "Hello, Berta!" in worker.text()
