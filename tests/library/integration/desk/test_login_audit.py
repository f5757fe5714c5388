"""Logins in the audit: who logged in from where, and who tried to."""

import asyncio

import httpx2
import psycopg
import pytest
from starlette.testclient import TestClient

from tests.library.integration.desk.conftest import DOMAIN, FIREFOX, Browser, begin_session, served
from workshed.console.web import create_app
from workshed.console.web.auth import login_journal, sessions
from workshed.console.web.auth.login_attempts import LoginAttempt
from workshed.console.web.auth.login_journal import LoginJournal
from workshed.jobs.control import audit
from workshed.jobs.control.audit import AuditFilter

FLOOD = 3_000


@pytest.fixture
def entries(conn):
    """`entries()`: the audit, the oldest first: action, user, count and details of each."""
    return lambda: [
        (one.action, one.performed_by, one.count, one.details)
        for one in audit.list_entries(conn)[::-1]
    ]


def attempt(address="192.0.2.7", name="olga"):
    return LoginAttempt(name, address, "Firefox", None)


@pytest.fixture
def journal(people):
    return LoginJournal({"olga", "rita"})


def record(journal, attempts, problem="failed"):
    """Record failed logins."""

    async def record_all():
        for one in attempts:
            await journal.record_problem(problem, one)

    asyncio.run(record_all())


def test_logins_failures_and_logouts_are_audited_with_address_and_browser(
    browsers, entries, counted
):
    before = {one: counted("console_logins_total", outcome=one) for one in ("succeeded", "failed")}
    hers = browsers(client=("192.0.2.7", 50_000))
    where = {"address": "192.0.2.7", "browser": FIREFOX}

    hers.log_in("olga", "wrong", **{"user-agent": FIREFOX})
    hers.log_in("olga", **{"user-agent": FIREFOX})
    hers.post("/logout", **{"user-agent": FIREFOX})
    hers.post("/logout", csrf=hers.csrf("/login"))

    assert entries() == [
        ("console.login_failed", "olga", 1, where),
        ("console.login", "olga", 1, where),
        ("console.logout", "olga", 1, where),
    ]
    for outcome, count in before.items():
        assert counted("console_logins_total", outcome=outcome) == count + 1


def test_refused_logins_are_audited(browsers, entries, counted):
    before = counted("console_logins_total", outcome="refused")
    someone = browsers()
    for n in range(12):
        someone.log_in("olga", f"guess {n}")

    found = [(action, count) for action, _, count, _ in entries()]

    assert found == [("console.login_failed", 1), ("console.login_refused", 1)]
    assert counted("console_logins_total", outcome="refused") == before + 2


def test_more_failures_of_an_address_share_an_entry(journal, entries):
    record(journal, [attempt(), *(attempt(name=name) for name in ("olga", "rita", "rita"))])
    record(journal, [attempt("192.0.2.8")])
    assert len(entries()) == 2

    journal.flush()
    journal.flush()

    more = {"address": "192.0.2.7", "browser": "Firefox", "names": ["olga", "rita"]}
    assert entries()[2:] == [("console.login_failed", "several users", 3, more)]
    record(journal, [attempt()])
    assert len(entries()) == 4


def test_a_flood_from_many_addresses_adds_few_entries(journal, entries):
    """Nothing deletes entries of the audit."""
    flood = [attempt(f"10.0.{number // 250}.{number % 250}") for number in range(FLOOD)]

    record(journal, flood)
    record(journal, flood, "refused")
    journal.flush()

    found = entries()
    assert len(found) <= 2 * login_journal.MOST_NETWORKS + 2
    for action in ("console.login_failed", "console.login_refused"):
        assert sum(count for name, _, count, _ in found if name == action) == FLOOD
    assert [one[3]["address"] for one in found[-2:]] == ["other addresses"] * 2


def test_a_name_that_no_user_has_is_not_written(browsers, entries):
    """It may be a password that was typed into the wrong field."""
    browsers().log_in("my secret password", "olga")

    [(_, name, _, _)] = entries()
    assert name == "unknown user"
    assert "secret" not in str(entries())


def test_repeated_failures_are_written_after_a_minute(people, entries, monkeypatch, eventually):
    monkeypatch.setattr(login_journal, "PERIOD_S", 0.5)
    app = create_app()
    with served(app) as port, httpx2.Client(base_url=f"http://127.0.0.1:{port}") as client:
        someone = Browser(client, f"http://127.0.0.1:{port}")
        for n in range(5):
            assert someone.log_in("olga", f"guess {n}").status_code == 401

        eventually(lambda: sum(count for _, _, count, _ in entries()) == 5)


def test_repeated_failures_are_written_when_the_console_ends(people, entries):
    with TestClient(create_app(), follow_redirects=False) as client:
        someone = Browser(client)
        for n in range(5):
            someone.log_in("olga", f"guess {n}")
        assert len(entries()) == 1

    assert [count for _, _, count, _ in entries()] == [1, 4]


def test_a_session_that_another_process_ended_is_audited_once(browsers, entries, monkeypatch):
    monkeypatch.setattr(sessions, "FRESH_S", 600.0)
    cookie, both = begin_session("olga"), [browsers(), browsers()]
    for browser in both:
        browser.client.cookies.set(sessions.COOKIE, cookie, domain=DOMAIN)
    tokens = [browser.csrf("/audit") for browser in both]

    for browser, csrf in zip(both, tokens, strict=True):
        assert browser.post("/logout", csrf=csrf).status_code == 303

    assert [action for action, *_ in entries()] == ["console.logout"]


def test_only_logins_are_written_by_a_role_that_changes_nothing(conn):
    """A console may connect as such a role, and must not be able to forge what operators did."""
    write = "SELECT workshed.audit_login('olga', %s, '{}', 1, 'x')"

    conn.execute(write, ("console.login",))
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="does not record the action"):
        conn.execute(write, ("dead.retry",))

    assert [one.action for one in audit.list_entries(conn)] == ["console.login"]


def test_the_page_shows_logins_or_actions(operator, conn):
    audit.record_entry(
        conn, performed_by="olga", action="dead.retry", details={}, count=1, summary="1 retried."
    )
    audit.record_login(
        conn,
        performed_by="rita",
        action="console.login",
        details={"address": "192.0.2.7", "browser": FIREFOX},
        count=1,
        summary="Logged in from 192.0.2.7.",
    )

    shown = operator.get("/audit?kind=logins").text

    assert "192.0.2.7" in shown
    assert "dead.retry" not in shown
    assert [one["action"] for one in operator.json("/audit?kind=actions")["entries"]] == [
        "dead.retry"
    ]
    assert len(operator.json("/audit")["entries"]) == 2
    assert len(audit.list_entries(conn, AuditFilter(is_login=True))) == 1
    assert operator.get("/audit?kind=x").status_code == 400
