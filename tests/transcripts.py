"""Terminal sessions as in the docs: `$ ` and a command, followed by its output."""

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from workshed.console.cli import app
from workshed.console.cli import run_command as run_line

CHANGING = {
    re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"): "ID",
    re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}"): "TIME",
    re.compile(r"\b[A-Z][a-z]{2} \d?\d [A-Z][a-z]{2} \d\d:\d\d\b"): "TIME",
    re.compile(r"\b\d[\d.]* ?(ms|min|[smhd])\b"): "SPAN",
    re.compile(r"\b127\.0\.0\.1:\d+"): "PLACE",
    re.compile(r'(?<=port )"?\d+'): "PORT",
}
"""Patterns of values that change with each run, and the words that replace them to compare."""
QUIET = {"PYTEST_ADDOPTS": "-W 'ignore:Module already imported'"}
"""For a pytest of a page: it would warn that Workshed is installed as editable here."""


def steps(session):
    """Return each command of a session with its output."""
    return [
        step.partition("\n")[::2] for step in re.split(r"^\$ ", session, flags=re.MULTILINE)[1:]
    ]


def masked(text, changing=()):
    """Return the words of a text, with changing values replaced."""
    text = " ".join(text.split())
    for pattern, name in [*dict(changing).items(), *CHANGING.items()]:
        text = re.sub(pattern, name, text)
    return text.split()


def alike(expected, said, changing=()):
    """Return whether the output matches what a page shows, where `…` matches anything."""
    wanted = [
        "(?:.* )?" if word == "…" else f"{re.escape(word).replace('…', '.*')} "
        for word in masked(expected, changing)
    ]
    found = "".join(f"{word} " for word in masked(said, changing))
    return re.fullmatch("".join(wanted), found) is not None


def check(expected, said, changing=()):
    """Assert that the output matches what a page shows."""
    assert alike(expected, said, changing), f"expected:\n{expected}\nsaid:\n{said}"


def follow(session, run=None, changing=()):
    """Run each command of a session in order and check its output."""
    for command, expected in steps(session):
        check(expected, (run or typed)(command), changing)


def activated(env):
    """Return the variables of a user who has activated `.venv`."""
    env = {**os.environ, "COLUMNS": "100", "PYTHONUNBUFFERED": "1", **env}
    return {**env, "PATH": f"{Path(sys.executable).parent}:{env['PATH']}"}


def begin(script, log, **env):
    """Run a script in its own process group; its output goes to a log next to it."""
    with log.open("wb") as out:
        return subprocess.Popen(
            ["sh", "-c", script],
            cwd=log.parent,
            env=activated(env),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def shell(folder, **env):
    """Return a function that runs a line in a folder and returns its output."""

    def run(line):
        done = subprocess.run(
            ["sh", "-c", line],
            cwd=folder,
            env=activated(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240,
            check=False,
        )
        return done.stdout

    return run


def typed(line):
    """Run a `workshed` command in this process, without key input; return what it shows."""
    return run_command(app, "workshed", shlex.split(line, comments=True))


def run_command(program, name, words):
    """Run a program of this name with the words of a line; return what a terminal would show."""
    with (
        mock.patch.object(sys, "argv", words),
        mock.patch.object(sys, "stdin", None),
        mock.patch.dict("os.environ", COLUMNS="100"),
        io.StringIO() as terminal,
        contextlib.redirect_stdout(terminal),
        contextlib.redirect_stderr(terminal),
    ):
        with pytest.raises(SystemExit):
            run_line(program, name)
        return terminal.getvalue()
