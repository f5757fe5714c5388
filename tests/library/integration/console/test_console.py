"""`workshed console`: its users, without which it does not start."""

import io
import sys

import pytest

from workshed.console.web.auth import users
from workshed.settings import settings


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


def test_it_does_not_start_without_users(workshed, database, monkeypatch):
    monkeypatch.setenv("WORKSHED_SECRET_KEY", "k" * 40)
    settings.cache_clear()

    done = workshed("console", "--port", "0")

    assert done.code == 2
    assert "WORKSHED_CONSOLE_USERS" in done.err


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
