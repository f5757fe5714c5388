"""Tokens, with which programs use the console."""

import pytest

from tests.library.integration.desk.conftest import Browser
from workshed.console.web import create_app
from workshed.console.web.auth import program_tokens
from workshed.errors import SettingsError
from workshed.jobs.control import audit
from workshed.settings import settings

DEPLOY, WATCH = program_tokens.create_token(), program_tokens.create_token()
ENTRIES = " ".join(
    program_tokens.format_token_entry(name, role, token)
    for name, role, token in (("deploy", "operator", DEPLOY), ("watch", "reader", WATCH))
)
FORM = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}


@pytest.fixture
def program(people, browsers, monkeypatch):
    """`program(TOKEN)`: a program that sends this token."""
    monkeypatch.setenv("WORKSHED_CONSOLE_TOKENS", ENTRIES)
    settings.cache_clear()

    def program(token):
        client = browsers().client
        client.headers["authorization"] = f"Bearer {token}"
        return client

    return program


@pytest.fixture
def paused(conn):
    """`paused()`: whether the queue `bulk` is paused."""
    conn.execute("INSERT INTO workshed.queues (name, kind) VALUES ('bulk', 'quorum')")
    query = "SELECT paused_at IS NOT NULL FROM workshed.queues WHERE name = 'bulk'"
    return lambda: conn.execute(query).fetchone() == (True,)


def pause(client, **headers):
    return client.post("/queues/pause", content="name=bulk", headers={**FORM, **headers})


def test_a_program_reads_pages_as_json(program):
    assert program(WATCH).get("/audit.json").json()["entries"] == []
    assert program(WATCH).get("/dead").status_code == 200


def test_a_program_acts_under_its_name_without_a_page(program, broker, paused, conn):
    answer = pause(program(DEPLOY))

    assert (answer.status_code, answer.json()["count"]) == (200, 1)
    assert paused()
    [entry] = audit.list_entries(conn)
    assert (entry.performed_by, entry.action) == ("deploy", "queues.pause")


def test_a_program_that_is_a_reader_does_nothing(program, broker, paused):
    assert pause(program(WATCH)).status_code == 403
    assert not paused()


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://testserver"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": ""},
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "none"},
    ],
    ids=str,
)
def test_a_browser_to_which_a_proxy_adds_a_token_needs_a_page(program, broker, paused, headers):
    """Otherwise a page of another site could send forms with the token."""
    assert pause(program(DEPLOY), **headers).status_code == 403
    assert not paused()


def test_a_browser_to_which_a_proxy_adds_a_token_uses_pages(program, broker, paused):
    browser = Browser(program(DEPLOY))

    assert "bulk" in browser.submit("/queues/pause", {"name": "bulk"})
    assert paused()


@pytest.mark.parametrize("path", ["/", "/dead.json"])
def test_an_unknown_token_is_refused(program, path):
    answer = program("wsc_unknown").get(path)

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "This token is not known here." in answer.text


def test_a_token_that_is_there_twice_is_refused(program):
    client = program(DEPLOY)
    given = [("authorization", f"Bearer {WATCH}"), ("authorization", f"Bearer {DEPLOY}")]
    del client.headers["authorization"]

    assert client.get("/dead.json", headers=given).status_code == 401


@pytest.mark.parametrize("scheme", ["Bearer unknown", "Basic b2xnYTp4"])
def test_a_user_whose_proxy_adds_another_authorization_is_not_disturbed(browsers, scheme):
    assert browsers("olga").get("/", authorization=scheme).status_code == 200
    assert browsers("olga").get("/dead.json", authorization=scheme).status_code == 200


def test_a_password_of_a_proxy_still_leads_to_the_login(browsers):
    assert browsers().get("/", authorization="Basic b2xnYTp4").status_code == 303


def test_a_console_may_be_for_programs_only(program, monkeypatch, browsers):
    monkeypatch.delenv("WORKSHED_CONSOLE_USERS")
    settings.cache_clear()

    assert program(WATCH).get("/dead.json").status_code == 200
    assert browsers().get("/").status_code == 401
    assert browsers().get("/login").status_code == 404


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ("deploy", "each entry must be name:role:hash"),
        ("deploy:operator:hash:x", "each entry must be name:role:hash"),
        (f"deploy:root:{'0' * 64}", "one of reader, operator"),
        ("deploy:reader:not-a-hash", "64 hexadecimal digits"),
        (f"one:reader:{'0' * 64} two:operator:{'0' * 64}", "the token of two appears twice"),
        (f"olga:reader:{'0' * 64}", "olga is in WORKSHED_CONSOLE_USERS and in"),
    ],
)
def test_entries_that_cannot_be_used_are_reported_without_their_hashes(
    people, monkeypatch, entries, why
):
    monkeypatch.setenv("WORKSHED_CONSOLE_TOKENS", entries)
    settings.cache_clear()

    with pytest.raises(SettingsError, match=why) as error:
        create_app()

    assert "0000" not in str(error.value)
    assert "not-a-hash" not in str(error.value)
