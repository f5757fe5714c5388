"""What a terminal shows, as pages have it: `$ ` and a command, and below it what it prints."""

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
from workshed.console.cli import run as run_line

CHANGING = {
    re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"): "ID",
    re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}"): "TIME",
    re.compile(r"\b[A-Z][a-z]{2} \d?\d [A-Z][a-z]{2} \d\d:\d\d\b"): "TIME",
    re.compile(r"\b\d[\d.]* (ms|s|min|h|d)\b"): "SPAN",
    re.compile(r"\b127\.0\.0\.1:\d+"): "PLACE",
    re.compile(r'(?<=port )"?\d+'): "PORT",
}
"""What is another each time, and what stands for it when two texts are compared."""


def steps(session):
    """Each command of a session, with what it prints."""
    return [
        step.partition("\n")[::2] for step in re.split(r"^\$ ", session, flags=re.MULTILINE)[1:]
    ]


def masked(text, changing=()):
    """The words of a text, without what is another each time."""
    text = " ".join(text.split())
    for pattern, name in [*dict(changing).items(), *CHANGING.items()]:
        text = re.sub(pattern, name, text)
    return text.split()


def alike(shown, said, changing=()):
    """Tell whether something was said as it is shown, where `…` is whatever it is."""
    wanted = [
        "(?:.* )?" if word == "…" else f"{re.escape(word).replace('…', '.*')} "
        for word in masked(shown, changing)
    ]
    found = "".join(f"{word} " for word in masked(said, changing))
    return re.fullmatch("".join(wanted), found) is not None


def check(shown, said, changing=()):
    """See that they are alike."""
    assert alike(shown, said, changing), f"shown:\n{shown}\nsaid:\n{said}"


def follow(session, run=None, changing=()):
    """Type each command of a session, in its order; each prints what stands there."""
    for command, shown in steps(session):
        check(shown, (run or typed)(command), changing)


def activated(env):
    """The variables of somebody who has activated `.venv`."""
    env = {**os.environ, "COLUMNS": "100", "PYTHONUNBUFFERED": "1", **env}
    return {**env, "PATH": f"{Path(sys.executable).parent}:{env['PATH']}"}


def begin(script, log, **env):
    """Run a script in a process group of its own; what it prints goes to a log beside it."""
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
    """A function that runs a line in a folder; what it has printed."""

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
    """Run a line of `workshed` in this process, without a terminal's keys; what one would show."""
    return shown(app, "workshed", shlex.split(line, comments=True))


def shown(program, name, words):
    """Run a program that has this name, with the words of a line; what a terminal would show."""
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
