"""`workshed console`: its users, without which it does not start."""

import io
import secrets
import socket
import sys
from datetime import timedelta

import pytest

from tests import pages
from tests.transcripts import check
from workshed.console.web.auth import program_tokens, users
from workshed.jobs.control import console_sessions
from workshed.jobs.control.console_sessions import SessionLimits, SessionOrigin
from workshed.settings import settings

TOKEN = pages.block("docs/console.md", "token")


@pytest.fixture
def entry_of(workshed, monkeypatch):
    """`entry_of("password", "ada")`: the output of the command, with this password on stdin."""

    def run(password, *words):
        monkeypatch.setattr(sys, "stdin", io.StringIO(f"{password}\n"))
        return workshed("console", "user", *words)

    return run


def test_an_entry_accepts_only_its_name_and_password(entry_of):
    done = entry_of("correct horse battery", "ada", "--role", "operator")

    entry = done.out.strip()
    known = users.parse_users(entry)

    assert done.code == 0
    assert users.authenticate_user(known, "ada", "correct horse battery").role == "operator"
    assert users.authenticate_user(known, "ada", "correct horse batter") is None
    assert users.authenticate_user(known, "bob", "correct horse battery") is None


def test_the_default_role_is_reader(entry_of):
    done = entry_of("correct horse battery", "ada")

    assert users.parse_users(done.out)["ada"].role == "reader"


@pytest.mark.parametrize(
    ("words", "password", "why"),
    [
        (["ada"], "short", "at least 12 characters"),
        (["a:b"], "correct horse battery", "no colon"),
        (["a b"], "correct horse battery", "no space"),
        (["ada", "--role", "root"], "correct horse battery", "reader, operator"),
    ],
)
def test_an_invalid_entry_is_refused(entry_of, words, password, why):
    done = entry_of(password, *words)

    assert (done.code, done.out) == (2, "")
    assert why in " ".join(done.err.replace("│", "").split())


def test_a_token_is_printed_once_with_an_entry_that_has_only_its_hash(workshed):
    command, shown = TOKEN.removeprefix("$ workshed ").split("\n", 1)
    done = workshed(*command.split())
    check(shown, done.out)

    [(_, token), (_, entry)] = [line.split() for line in done.lines]

    assert done.code == 0
    assert token not in entry
    [program] = program_tokens.parse_tokens(entry).values()
    assert (program.name, program.role, program.is_program) == ("deploy", "operator", True)
    assert program_tokens.format_token_entry("deploy", "operator", token) == entry
    assert workshed("console", "token", "deploy").lines[0] != done.lines[0]


def test_a_token_is_that_of_a_reader_by_default(workshed):
    found = workshed("console", "token", "watch", "--json").json

    assert (found["name"], found["role"]) == ("watch", "reader")
    assert found["entry"].startswith("watch:reader:")


@pytest.mark.parametrize("words", [["a:b"], ["a b"], ["ada", "--role", "root"]])
def test_an_invalid_entry_of_a_program_is_refused(workshed, words):
    done = workshed("console", "token", *words)

    assert (done.code, done.out) == (2, "")


@pytest.mark.usefixtures("database")
def test_all_sessions_of_a_user_are_ended(workshed, conn):
    for name in ("olga", "olga", "rita"):
        console_sessions.create_session(
            conn,
            token_hash=secrets.token_bytes(32),
            proof="",
            user_name=name,
            origin=SessionOrigin("192.0.2.1", "Firefox"),
            limits=SessionLimits(timedelta(hours=1), timedelta(hours=1)),
        )

    done = workshed("console", "logout", "olga", "stranger")

    assert (done.code, done.out) == (0, "olga  ended 2 sessions\nstranger  not logged in\n")
    assert "Within 5 s every console refuses their cookies" in done.err
    assert [row.user_name for row in console_sessions.list_sessions(conn, None, 10)] == ["rita"]
    assert workshed("console", "logout", "olga", "--json").json == [
        {"user": "olga", "answer": "not logged in"}
    ]


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({"WORKSHED_METRICS": "false"}, "--metrics-port has nothing to serve"),
        ({}, "see --metrics-port"),
    ],
)
def test_metrics_that_cannot_be_served_are_reported(
    workshed, database, monkeypatch, variables, why
):
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    settings.cache_clear()

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = workshed("console", "--port", "0", "--metrics-port", str(port))

    assert done.code == (2 if variables else 1)
    assert why in done.err


def test_it_does_not_start_without_users(workshed, database, monkeypatch):
    monkeypatch.setenv("WORKSHED_SECRET_KEY", "k" * 40)
    settings.cache_clear()

    done = workshed("console", "--port", "0")

    assert done.code == 2
    assert "WORKSHED_CONSOLE_USERS" in done.err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--host", "192.168.1.7"], "name the proxies in front of the console"),
        (["--host", "192.168.1.7", "--proxies", "*"], "the proxies of the console cannot be read"),
    ],
)
def test_it_does_not_start_for_other_machines_without_an_answer_about_proxies(
    workshed, database, monkeypatch, words, why
):
    monkeypatch.setenv("WORKSHED_SECRET_KEY", "k" * 40)
    monkeypatch.setenv("WORKSHED_CONSOLE_USERS", users.format_entry("ada", "reader", "x" * 12))
    settings.cache_clear()

    done = workshed("console", "--port", "0", *words)

    assert done.code == 2
    assert why in " ".join(done.err.split())


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ("ada", "each entry must be name:role:hash"),
        ("ada:root:x", "one of reader, operator"),
        ("ada:reader:plain-password", "not an argon2 hash"),
    ],
)
def test_entries_that_cannot_be_read_are_reported_without_their_hashes(
    workshed, database, monkeypatch, entries, why
):
    monkeypatch.setenv("WORKSHED_SECRET_KEY", "k" * 40)
    monkeypatch.setenv("WORKSHED_CONSOLE_USERS", entries)
    settings.cache_clear()

    done = workshed("console", "--port", "0")

    assert done.code == 2
    assert why in done.err
    assert "plain-password" not in done.err
