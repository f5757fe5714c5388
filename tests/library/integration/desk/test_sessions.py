"""Sessions of users who have logged in with a password."""

import hashlib
import http.client
import re
import time
from datetime import timedelta

import httpx2
import pytest

from tests.library.integration.desk.conftest import (
    DOMAIN,
    FIREFOX,
    HASH,
    PASSWORD,
    Browser,
    begin_session,
    served,
)
from tests.library.integration.desk.test_live import Stream
from workshed import db
from workshed.console.web import create_app, live
from workshed.console.web.auth import sessions
from workshed.jobs.control import audit, console_sessions
from workshed.jobs.control.console_sessions import SessionOrigin
from workshed.settings import settings

PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 Safari/604.1"
SECONDS = "SELECT extract(epoch FROM {} - workshed.now())::int FROM workshed.console_sessions"


@pytest.fixture
def opened(browsers):
    """`opened(cookie)`: a browser with this cookie, at a process of its own of the console."""

    def opened(cookie):
        browser = browsers()
        browser.client.cookies.set(sessions.COOKIE, cookie, domain=DOMAIN)
        return browser

    return opened


@pytest.fixture
def is_logged_in(opened):
    """`is_logged_in(cookie)`: whether a process that has not seen this cookie accepts it."""
    return lambda cookie: opened(cookie).get("/").status_code == 200


@pytest.fixture
def no_cache(monkeypatch):
    """Each request looks at PostgreSQL."""
    monkeypatch.setattr(sessions, "FRESH_S", 0.0)
    monkeypatch.setattr(sessions, "USE_S", 0.0)


def count(conn):
    return conn.execute("SELECT count(*) FROM workshed.console_sessions").fetchone()[0]


def change(conn, assignment):
    """Change all sessions."""
    assert conn.execute(f"UPDATE workshed.console_sessions SET {assignment}").rowcount  # noqa: S608


def test_a_logged_out_person_sees_no_page(operator):
    assert operator.get("/").status_code == 200

    operator.post("/logout")

    assert operator.get("/").status_code == 303


def test_a_logout_ends_the_session_for_everyone_who_has_its_cookie(browsers, opened):
    browser = browsers()
    browser.log_in("olga")
    thief = opened(browser.client.cookies[sessions.COOKIE])
    assert thief.get("/audit").status_code == 200

    browser.post("/logout")

    assert opened(thief.client.cookies[sessions.COOKIE]).get("/audit").status_code == 303


def test_another_process_refuses_an_ended_session_within_seconds(operator, opened, eventually):
    other = opened(operator.client.cookies[sessions.COOKIE])
    assert other.get("/").status_code == 200

    operator.post("/logout")

    eventually(lambda: other.get("/").status_code == 303)
    assert sessions.FRESH_S <= 2


def test_requests_within_seconds_ask_postgresql_once(operator, monkeypatch):
    asked, find = [], console_sessions.find_session
    monkeypatch.setattr(sessions, "FRESH_S", 600.0)
    monkeypatch.setattr(
        console_sessions, "find_session", lambda *given: asked.append(1) or find(*given)
    )

    assert {operator.get("/audit").status_code for _ in range(10)} == {200}

    assert len(asked) == 1


def test_a_logout_without_a_cookie_takes_none_from_the_browser(browsers, people):
    """A form of another site is sent without it; the session would continue, and its user out."""
    answer = browsers().client.post("/logout", headers={"origin": "https://evil.example"})

    assert "set-cookie" not in answer.headers


def test_a_made_up_cookie_asks_postgresql_nothing(opened, monkeypatch):
    """Otherwise strangers could send PostgreSQL a query with each request."""
    asked = []
    monkeypatch.setattr(console_sessions, "find_session", lambda *_: asked.append(1))

    assert opened("IngiYQ.aaaaaa.bbbbbbbbbbbbbbbbbbbbbbbbbbb").get("/").status_code == 303
    assert opened("x" * 5_000).get("/").status_code == 303

    assert asked == []


def test_postgresql_has_only_a_hash_of_the_token(browsers, conn):
    browser = browsers()
    browser.log_in("olga")
    cookie = browser.client.cookies[sessions.COOKIE]

    [row] = conn.execute("SELECT t::text, t.token_hash FROM workshed.console_sessions AS t")

    signer = sessions.secret_keys.create_timed_signer(sessions.COOKIE_PURPOSE)
    token = signer.loads(cookie)
    assert len(token) >= 43
    assert row[1] == hashlib.sha256(token.encode()).digest()
    assert token not in row[0]


def test_a_session_ends_when_it_is_idle(is_logged_in, people, conn):
    cookie = begin_session("olga")
    assert is_logged_in(cookie)

    change(conn, "expires_at = workshed.now()")

    assert not is_logged_in(cookie)


def test_a_request_puts_off_the_end_but_not_beyond_twelve_hours(no_cache, operator, conn):
    change(conn, "seen_at = seen_at - interval '1 hour', expires_at = now() + interval '1 minute'")

    operator.get("/")
    [(idle_s,)] = conn.execute(SECONDS.format("expires_at"))
    [(seen_s,)] = conn.execute(SECONDS.format("seen_at"))
    change(conn, "created_at = now() - interval '11 hours 30 minutes'")
    operator.get("/")
    [(last_s,)] = conn.execute(SECONDS.format("expires_at"))

    assert 7_100 < idle_s <= 7_200
    assert -100 < seen_s <= 0
    assert 1_700 < last_s <= 1_800


def test_a_cookie_is_refused_after_twelve_hours(operator, conn, monkeypatch):
    """Also if PostgreSQL still had the session."""
    change(conn, "expires_at = now() + interval '1 year'")
    limits = sessions.SessionLimits(lifetime=timedelta(seconds=-1), idle=timedelta(hours=2))
    monkeypatch.setattr(sessions, "LIMITS", limits)

    assert operator.get("/").status_code == 303


def test_a_page_that_is_only_open_does_not_put_off_the_end(no_cache, people, conn, monkeypatch):
    monkeypatch.setattr(live, "REFRESH_S", 0.05)
    cookie = begin_session("olga")
    change(conn, "seen_at = seen_at - interval '1 hour'")
    with served(create_app()) as port:
        headers = {"cookie": f"{sessions.COOKIE}={cookie}"}
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=90)
        connection.request("GET", "/live?of=/dead", headers=headers)
        answer = connection.getresponse()
        for _ in range(5):
            assert answer.readline()
        [(seen_s,)] = conn.execute(SECONDS.format("seen_at"))
        connection.close()
        assert seen_s < -3_500

        # What a page asks before it connects again.
        connection.request("GET", "/live?of=/none", headers=headers)
        assert connection.getresponse().status == 404
        [(seen_s,)] = conn.execute(SECONDS.format("seen_at"))
        connection.close()
        assert seen_s < -3_500

        connection.request("GET", "/dead", headers=headers)
        assert connection.getresponse().status == 200
        [(seen_s,)] = conn.execute(SECONDS.format("seen_at"))
        connection.close()

    assert seen_s > -3_500


def test_open_live_pages_end_with_the_session(browsers, people, monkeypatch):
    with served(create_app()) as port:
        origin = f"http://127.0.0.1:{port}"
        with httpx2.Client(base_url=origin, timeout=90) as client:
            browser = Browser(client, origin)
            assert browser.log_in("olga").status_code == 303
            with client.stream("GET", "/live?of=/dead") as stream:
                lines = stream.iter_lines()
                assert next(lines)

                browser.post("/logout")

                for number, _ in enumerate(lines):  # it would continue for ever
                    assert number < 1_000


@pytest.mark.parametrize(
    "entry",
    [
        f"olga:reader:{HASH}",
        f"olga:operator:{HASH}x",
        f"rita:reader:{HASH}",
    ],
    ids=["another role", "another password", "no such user"],
)
def test_all_sessions_of_a_user_end_when_the_entry_changes(
    is_logged_in, people, monkeypatch, entry
):
    cookie = begin_session("olga")
    assert is_logged_in(cookie)

    monkeypatch.setenv("WORKSHED_CONSOLE_USERS", entry)
    settings.cache_clear()

    assert not is_logged_in(cookie)


def test_a_session_of_another_key_is_refused(is_logged_in, people, monkeypatch):
    """A key that is only older stays valid until it is removed."""
    cookie = begin_session("olga")

    monkeypatch.setenv("WORKSHED_SECRET_KEY", f"{'n' * 40},{'k' * 40}")
    settings.cache_clear()
    assert is_logged_in(cookie)

    monkeypatch.setenv("WORKSHED_SECRET_KEY", "n" * 40)
    settings.cache_clear()
    assert not is_logged_in(cookie)


def test_a_role_that_may_write_the_table_cannot_make_itself_another_user(
    is_logged_in, people, conn
):
    """Neither for a token of its own, nor with a copy of another user's row."""
    mine, hers = begin_session("rita"), begin_session("olga")
    assert is_logged_in(mine)

    change(conn, "user_name = 'olga'")
    assert not is_logged_in(mine)
    conn.execute("""
        UPDATE workshed.console_sessions SET proof = other.proof, user_name = 'olga'
          FROM (SELECT proof, token_hash FROM workshed.console_sessions) AS other
         WHERE other.token_hash <> console_sessions.token_hash
    """)
    assert not is_logged_in(mine)
    assert not is_logged_in(hers)


def test_a_new_login_replaces_the_session_of_the_browser(browsers, is_logged_in, conn):
    """For example from a login form that was open in another tab."""
    browser, cookie = browsers(), begin_session("olga")
    csrf = browser.csrf("/login")
    browser.client.cookies.set(sessions.COOKIE, cookie, domain=DOMAIN)

    answer = browser.post("/login", {"name": "olga", "password": PASSWORD}, csrf=csrf)

    assert answer.status_code == 303
    assert count(conn) == 1
    assert not is_logged_in(cookie)
    assert browser.get("/").status_code == 200


def test_while_postgresql_is_away_a_live_page_stays_open(
    no_cache, people, servers, monkeypatch, eventually
):
    """It says that it is not up to date: a redirect to the login would hide that."""
    monkeypatch.setattr(db, "POOL_WAIT_S", 2)
    monkeypatch.setattr(live, "REFRESH_S", 0.05)
    cookie = begin_session("olga")
    with served(create_app()) as port:
        stream = Stream(port, "/dead", {"cookie": f"{sessions.COOKIE}={cookie}"})
        stream.page()
        servers.postgres.stop()
        try:
            assert stream.event()[0] == "away"
            assert stream.event(skipped=("token",))[0] == "away"  # each REFRESH_S one looks again
        finally:
            servers.postgres.start()

        assert stream.event(skipped=("away", "beat", "token"))[0] == "page"
        stream.connection.close()


def test_a_session_that_cannot_be_looked_up_is_an_error_soon(opened, people, servers, monkeypatch):
    """Not the login: its user is logged in."""
    monkeypatch.setattr(sessions, "LOOKUP_S", 0.5)
    cookie = begin_session("olga")
    browser, began = opened(cookie), time.monotonic()
    servers.postgres.stop()
    try:
        answer = browser.get("/dead")
    finally:
        servers.postgres.start()

    assert answer.status_code == 503
    assert "PostgreSQL cannot be reached" in answer.text
    assert time.monotonic() - began < db.POOL_WAIT_S


def test_while_lookups_fail_a_page_stays_open_for_a_short_time(
    no_cache, people, monkeypatch, eventually
):
    """A failure makes a session that may have ended last no longer, and lets it do nothing."""
    monkeypatch.setattr(live, "REFRESH_S", 0.05)
    cookie = begin_session("olga")
    with served(create_app()) as port:
        headers = {"cookie": f"{sessions.COOKIE}={cookie}"}
        stream = Stream(port, "/dead", headers)
        stream.page()
        monkeypatch.setattr(sessions, "LOOKUP_S", 0.0)

        assert stream.event(skipped=("token",))[0] in ("beat", "away")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=90)
        connection.request("GET", "/audit", headers=headers)
        assert connection.getresponse().status == 503
        connection.close()

        monkeypatch.setattr(sessions, "STALE_S", 0.1)
        eventually(lambda: not stream.answer.readline())
        stream.connection.close()


# The page


def test_the_page_lists_the_own_sessions_with_browser_and_address(operator):
    begin_session("olga", SessionOrigin("198.51.100.9", PHONE))
    begin_session("rita")

    found = operator.json("/sessions")

    assert [(one["browser"], one["address"], one["is_current"]) for one in found["sessions"]] == [
        ("Firefox on Linux", "192.0.2.1", True),
        ("Safari on iPhone", "198.51.100.9", False),
    ]
    assert found["sessions"][0]["user_agent"] == FIREFOX
    assert [(one["user"], one["count"]) for one in found["others"]] == [("rita", 1)]
    assert "Safari on iPhone" in operator.get("/sessions").text


def test_a_reader_sees_no_sessions_of_others(reader, people):
    begin_session("olga")

    assert reader.json("/sessions")["others"] == []
    assert "Other users" not in reader.get("/sessions").text


def test_sessions_that_no_longer_work_are_not_listed(operator, conn):
    begin_session("olga")
    begin_session("rita")
    conn.execute("UPDATE workshed.console_sessions SET proof = 'x' WHERE user_name = 'rita'")
    conn.execute("""
        UPDATE workshed.console_sessions SET expires_at = workshed.now()
         WHERE created_at = (SELECT max(created_at) FROM workshed.console_sessions
                              WHERE user_name = 'olga')
    """)

    found = operator.json("/sessions")

    assert [one["is_current"] for one in found["sessions"]] == [True]
    assert found["others"] == []


@pytest.mark.parametrize("name", ["olga", "rita"])
def test_a_user_ends_one_session(browsers, is_logged_in, conn, name):
    """A reader, too."""
    cookie, browser = begin_session(name), browsers(name)
    [other] = [one for one in browser.json("/sessions")["sessions"] if not one["is_current"]]

    said = browser.submit("/sessions/end", {"id": other["id"]})

    assert said == "1 session ended."
    assert not is_logged_in(cookie)
    assert browser.get("/").status_code == 200
    [entry] = audit.list_entries(conn)
    assert (entry.action, entry.performed_by) == ("console.logout", name)
    assert browser.post("/sessions/end", {"id": other["id"]}).status_code == 404


def test_a_user_ends_no_session_of_another(reader, is_logged_in, people, conn):
    cookie = begin_session("olga")
    query = "SELECT id::text FROM workshed.console_sessions WHERE user_name = 'olga'"
    [(session_id,)] = conn.execute(query)

    assert reader.post("/sessions/end", {"id": session_id}).status_code == 404
    assert reader.post("/sessions/end", {"id": "x"}).status_code == 400
    assert is_logged_in(cookie)


def test_a_user_ends_all_other_sessions(reader, is_logged_in, people, conn):
    cookies, hers = [begin_session("rita") for _ in range(3)], begin_session("olga")

    said = reader.submit("/sessions/end-others")

    assert said == "3 sessions ended."
    assert [is_logged_in(cookie) for cookie in cookies] == [False] * 3
    assert is_logged_in(hers)
    assert reader.get("/").status_code == 200
    assert [one.count for one in audit.list_entries(conn)] == [3]
    assert reader.post("/sessions/end-others").status_code == 404


def test_an_operator_ends_all_sessions_of_a_user(operator, is_logged_in, people, conn):
    cookies = [begin_session("rita") for _ in range(2)]

    said = operator.submit("/sessions/log-out", {"user": "rita"})

    assert said.startswith("rita: ended 2 sessions.")
    assert [is_logged_in(cookie) for cookie in cookies] == [False] * 2
    [entry] = audit.list_entries(conn)
    assert (entry.action, entry.performed_by) == ("console.logout", "olga")
    assert entry.details == {"users": ["rita"]}


def test_a_user_of_a_proxy_has_no_session_to_end(browsers, monkeypatch):
    monkeypatch.setenv("WORKSHED_CONSOLE_PROXY_SECRET", "s" * 40)
    settings.cache_clear()
    headers = {"x-workshed-secret": "s" * 40, "x-workshed-user": "ada", "x-workshed-role": "reader"}

    shown = browsers().get("/sessions", **headers)

    assert "You have no session" in shown.text


def test_without_users_there_is_no_page(browsers, monkeypatch):
    monkeypatch.delenv("WORKSHED_CONSOLE_USERS")
    monkeypatch.setenv("WORKSHED_CONSOLE_PROXY_SECRET", "s" * 40)
    settings.cache_clear()
    headers = {"x-workshed-secret": "s" * 40, "x-workshed-user": "ada", "x-workshed-role": "reader"}

    assert browsers().get("/sessions", **headers).status_code == 404


def test_expired_sessions_are_deleted(people, conn):
    begin_session("olga")
    change(conn, "expires_at = workshed.now() - interval '1 second'")
    begin_session("rita")

    assert console_sessions.prune_sessions(conn, 100) == 1
    assert count(conn) == 1


# Cookies


def test_over_tls_cookies_are_for_tls_alone(browsers):
    """`__Host-`: neither a page of a sibling domain nor one without TLS can set them."""
    someone = browsers()
    someone.client.base_url = "https://testserver"

    form = someone.get("/login").headers.get_list("set-cookie")
    answer = someone.log_in("olga", origin="https://testserver")

    given = [*form, *answer.headers.get_list("set-cookie")]
    names = [cookie.partition("=")[0] for cookie in given]
    assert names == [
        "__Host-workshed_console_form",
        "__Host-workshed_console",
        "__Host-workshed_console_browser",
    ]
    for cookie in given:
        assert "; Secure" in cookie
        assert "; Path=/;" in cookie
        assert "Domain" not in cookie
    assert someone.get("/").status_code == 200
    deleted = someone.post("/logout", origin="https://testserver").headers["set-cookie"]
    assert re.match(r'__Host-workshed_console=""; .*; Secure', deleted)
    assert someone.get("/").status_code == 303


def test_over_tls_a_cookie_without_the_prefix_is_not_read(browsers, people):
    someone = browsers()
    someone.client.base_url = "https://testserver"
    someone.client.cookies.set(sessions.COOKIE, begin_session("olga"), domain=DOMAIN)

    assert someone.get("/").status_code == 303
