"""Rules for every command; add new commands to a list of `tests/service/commands.py`."""

import subprocess
import sys

import pytest
from typer.main import get_command

from shop.__main__ import COMMANDS as SHOP
from tests.promises import promised
from tests.service.commands import (
    CHANGING,
    FINAL,
    HARMLESS,
    KNOWN,
    READING,
    meant,
    options,
)
from tools.reference import COMMANDS, README, commands_table, update_document
from workshed.app import load_object
from workshed.console.cli import as_typer, collect_commands
from workshed.console.summary import read_summary

WITHOUT_JSON = {"adopt", "console", "console user", "init", "relay", "worker"}
"""They run until they are stopped and log or show something, print a single value, or write files
and say where."""
PREVIEWING = {"import"}
"""They show what a file or a query contains, which is not known before."""
HEAVY = {
    *("PIL", "aiosmtpd", "boto3", "dramatiq", "httpx", "jinja2", "matplotlib", "orjson"),
    *("periodiq", "pika", "psycopg", "psycopg_pool", "pydantic_settings", "sentry_sdk"),
    *("markdown_it", "rich", "starlette", "workshed.devserver", "workshed.db", "workshed.settings"),
}
"""What commands need when they run, and takes longer to import than all the rest."""


def test_each_is_final_or_harmless():
    assert set() == FINAL & HARMLESS == CHANGING & READING
    assert set(KNOWN) == FINAL | HARMLESS


@pytest.mark.parametrize("name", sorted(FINAL))
def test_irreversible_commands_have_a_dry_run_and_a_confirmation(name):
    """`tests/service/integration/console/test_asking.py` tests that it asks for confirmation."""
    assert {"--dry-run", "--yes"} <= options(KNOWN[name])


def test_harmless_commands_do_not_ask():
    """A confirmation that is needed everywhere is given without thinking."""
    asking = {name for name in HARMLESS if "--yes" in options(KNOWN[name])}
    tried = {name for name in HARMLESS if "--dry-run" in options(KNOWN[name])}

    assert (asking, tried) == (set(), PREVIEWING)


def test_each_has_json_and_its_keys_are_promised():
    with_json = {name for name, one in KNOWN.items() if "--json" in options(one)}

    assert with_json == set(KNOWN) - WITHOUT_JSON
    assert {meant(words) for words, _, _ in promised()} == with_json


def test_actors_and_queues_are_completed_wherever_they_are_named():
    named = {"--actor", "--queue", "QUEUE"}
    silent = [
        f"{name} {one.name}"
        for name, command in KNOWN.items()
        for one in command.params
        if named & {*one.opts, one.metavar} and one._custom_shell_complete is None
    ]

    assert silent == []


def test_each_says_in_one_line_what_it_does():
    first = {name: (one.help or "").partition("\n")[0] for name, one in KNOWN.items()}

    assert [name for name, line in first.items() if not 0 < len(line) <= 100] == []


def test_the_page_names_each_of_them():
    text = COMMANDS.read_text("utf-8")

    assert update_document(text) == text, "run `make reference`"
    assert commands_table() in text
    assert "docs/command-line.md" in README.read_text("utf-8")


@pytest.mark.parametrize("module", ["workshed", "shop"])
def test_the_list_of_commands_imports_none_of_them(module):
    """It appears at once; typer itself imports pydantic for the options of one command only."""
    script = f"""
import runpy, sys
sys.argv = [{module!r}, "--help"]
try:
    runpy.run_module({module!r}, run_name="__main__")
except SystemExit as end:
    assert not end.code, end.code
print(sorted({HEAVY | {"pydantic"}!r} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "Usage: " in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_list_says_of_each_command_what_its_help_says():
    places = collect_commands() | SHOP
    helps = {name: get_command(as_typer(load_object(place))).help for name, place in places.items()}

    assert {name: read_summary(place) for name, place in places.items()} == {
        name: " ".join(text.partition("\n\n")[0].split()) for name, text in helps.items()
    }
