"""The documented exit codes are those of the code."""

import sys

import pytest

from tests import pages
from workshed.console.cli import CODE_MEANINGS, EXIT_CODES, INTERRUPTED, exit_code, main
from workshed.console.cli.fleet import workers
from workshed.console.supervisor.supervisor import EXIT_KILLED
from workshed.errors import (
    EXIT_BROKER,
    EXIT_DATABASE,
    EXIT_HARD_DEADLINE,
    EXIT_USAGE,
    EXIT_WATCHDOG,
    DatabaseUnreachableError,
    MigrationError,
    SettingsError,
    WorkshedError,
)
from workshed.transport.errors import BrokerUnreachableError
from workshed.transport.errors import exit_code as of_a_worker

PAGE = "docs/command-line.md"


def test_the_table_of_the_document_is_that_of_the_code():
    rows = [f"| {code} | {meaning} |" for code, meaning in CODE_MEANINGS.items()]

    assert "\n".join(["| code | meaning |", "|---|---|", *rows, ""]) in pages.text(PAGE)


def test_a_command_ends_with_the_code_of_a_worker_with_the_same_error():
    for error in (
        BrokerUnreachableError("away"),
        DatabaseUnreachableError("away"),
        MigrationError("missing"),
        SettingsError("unreadable"),
    ):
        assert exit_code(error) == of_a_worker(error)


def test_every_code_is_documented():
    of_commands = {0, INTERRUPTED, *EXIT_CODES.values(), exit_code(WorkshedError("failed"))}
    of_start = {EXIT_USAGE, EXIT_BROKER, EXIT_DATABASE}
    of_workers = {*of_start, EXIT_WATCHDOG, EXIT_HARD_DEADLINE, EXIT_KILLED}

    assert of_commands | of_workers == set(CODE_MEANINGS)


def test_a_command_that_is_interrupted_ends_as_documented(monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(workers, "workers", interrupted)
    monkeypatch.setattr(sys, "argv", ["workshed", "workers"])

    with pytest.raises(SystemExit) as end:
        main()

    assert end.value.code == INTERRUPTED
