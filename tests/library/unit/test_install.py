"""The question that is asked before RabbitMQ is installed."""

import io
import sys
from pathlib import Path

import pytest

from workshed.devserver import NotInstalledError, install

FOUND = Path("/usr/lib/rabbitmq/bin")


@pytest.fixture
def machine(monkeypatch):
    """`machine(answer)`: has apt and sudo and no RabbitMQ; returns the commands it ran."""
    ran = []

    def person(answer, *, terminal=True):
        answers = io.StringIO(answer)
        answers.isatty = lambda: terminal
        monkeypatch.setattr(sys, "stdin", answers)
        monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
        return ran

    monkeypatch.setattr(install.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(install.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(
        install, "find_scripts", lambda places=install.SCRIPT_FOLDERS: FOUND if ran else None
    )
    monkeypatch.setattr(install.subprocess, "run", lambda command, **_: ran.append(command))
    return person


@pytest.mark.parametrize("answer", ["y\n", "YES\n"])
def test_a_yes_installs_it_by_sudo(machine, answer, capsys):
    ran = machine(answer)

    assert install.ensure_installed(print) == FOUND
    assert ran == [("sudo", sys.executable, "-m", "workshed.devserver.install")]
    assert "[y/N]" in capsys.readouterr().err


@pytest.mark.parametrize("answer", ["\n", "n\n", "", "what\n"])
def test_anything_else_says_what_to_install(machine, answer):
    ran = machine(answer)

    with pytest.raises(NotInstalledError, match="sudo apt-get install"):
        install.ensure_installed(print)

    assert ran == []


def test_without_a_terminal_no_question_is_asked(machine):
    ran = machine("y\n", terminal=False)

    with pytest.raises(NotInstalledError, match="dnf install"):
        install.ensure_installed(print)

    assert ran == []
