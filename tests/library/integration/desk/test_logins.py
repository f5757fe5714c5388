"""Logins with a password: who is refused, and who is not."""

import re
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from types import SimpleNamespace

import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import Response

from tests.library.integration.desk.conftest import PASSWORD, Browser, served
from workshed.console.web import create_app, login, request_guard
from workshed.console.web.auth import known_browsers, login_limits, users
from workshed.console.web.auth.login_attempts import LoginAttempt, find_network
from workshed.console.web.auth.login_limits import LoginLimits
from workshed.database import waits
from workshed.jobs.control import audit, login_failures

FLOOD = 40
"""Failures for one name: more than the limit of a name."""


@pytest.fixture
def at(browsers):
    """`at("192.0.2.7")`: a browser with this address, in which no user has logged in."""
    app = create_app()
    return lambda address: browsers(app=app, client=(address, 50_000))


def guess(browser, name="olga", times=1):
    """Try wrong passwords; return the status of each answer."""
    return [browser.log_in(name, f"guess {n}").status_code for n in range(times)]


@pytest.fixture
def besieged(at):
    """Strangers at many addresses have guessed olga's password."""
    for number in range(FLOOD // 2):
        assert guess(at(f"203.0.113.{number}"), times=2) == [401, 401]


def test_a_wrong_password_is_refused(browsers):
    someone = browsers()

    answers = [someone.log_in("olga", "wrong"), someone.log_in("stranger"), someone.log_in("", "")]

    assert [answer.status_code for answer in answers] == [401, 401, 401]
    assert len({answer.text.split("csrf")[0] for answer in answers}) == 1


def test_guesses_are_few(at):
    someone = at("192.0.2.7")

    answers = guess(someone, times=10)
    refused = someone.log_in("olga")

    assert answers == [401] * 10
    assert refused.status_code == 429
    assert 240 < int(refused.headers["retry-after"]) <= 360
    assert re.search(
        "Too many logins failed from your address. Wait [56] minutes, or use", refused.text
    )
    assert "workshed_console" not in refused.cookies


def test_a_flood_of_refused_logins_asks_postgresql_once(at, monkeypatch):
    """Otherwise one client could take all places, in which others wait."""
    asked, ask = [], login_failures.count_failures
    monkeypatch.setattr(login_limits, "RECALLED_S", 600.0)
    someone = at("192.0.2.7")
    guess(someone, times=10)
    monkeypatch.setattr(
        login_failures, "count_failures", lambda *given: asked.append(1) or ask(*given)
    )

    assert guess(someone, times=10) == [429] * 10

    assert asked == [1]
    assert guess(at("192.0.2.8")) == [401]


def test_right_passwords_are_not_counted(at):
    """From one address, such as that of an office."""
    answers = [at("192.0.2.7").log_in("olga").status_code for _ in range(15)]

    assert answers == [303] * 15


def test_failures_of_some_minutes_ago_are_not_counted(at, conn, monkeypatch):
    monkeypatch.setattr(login_limits, "RECALLED_S", 0.0)
    someone = at("192.0.2.7")
    guess(someone, times=10)
    assert guess(someone) == [429]

    conn.execute("UPDATE workshed.login_failures SET minute = minute - interval '4 minutes'")
    assert guess(someone) == [429]
    conn.execute("UPDATE workshed.login_failures SET minute = minute - interval '2 minutes'")

    assert someone.log_in("olga").status_code == 303


def test_a_name_is_not_stored(at, conn):
    """Users type passwords into the wrong field."""
    assert guess(at("192.0.2.1"), "correct horse") == [401]

    stored = conn.execute("SELECT string_agg(key, ' ') FROM workshed.login_failures").fetchone()[0]
    assert "192.0.2.1" in stored
    assert "horse" not in stored


def test_a_customer_with_many_ipv6_addresses_has_the_guesses_of_one(at):
    answers = [guess(at(f"2001:db8::{number:x}"))[0] for number in range(12)]

    assert answers == [401] * 10 + [429] * 2
    assert guess(at("2001:db8:0:1::1")) == [401]


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("192.0.2.7:51234", "192.0.2.7"),
        ("[2001:db8:1:2:3:4:5:6]:51234", "2001:db8:1:2::/64"),
        ("?", "?"),
        ("unix", "unix"),
    ],
)
def test_the_network_of_an_address(address, network):
    assert find_network(address) == network


def test_strangers_lock_no_user_out_of_a_known_browser(at, besieged):
    """Not even strangers with the user's own address."""
    hers = at("192.0.2.7")
    assert hers.log_in("olga").status_code == 303
    hers.post("/logout")
    assert guess(at("192.0.2.7"), times=3) == [401] * 3
    assert guess(at("192.0.2.7")) == [429]

    assert hers.log_in("olga").status_code == 303


def test_strangers_lock_no_user_out_at_a_new_address(at, besieged):
    """Each address keeps some guesses for the name, and all for other names."""
    new = at("192.0.2.7")

    assert guess(new, times=2) == [401, 401]
    assert new.log_in("olga").status_code == 303

    other = at("192.0.2.8")
    assert guess(other, times=4) == [401, 401, 401, 429]
    assert other.log_in("olga").status_code == 429
    assert guess(other, "rita") == [401]


def test_without_strangers_an_address_has_more_guesses_for_a_name(at):
    someone = at("192.0.2.7")

    assert guess(someone, times=5) == [401] * 5
    assert someone.log_in("olga").status_code == 303


def test_a_known_browser_has_few_guesses_too(at):
    """Its failures do not count for its address."""
    hers = at("192.0.2.7")
    hers.log_in("olga")
    hers.post("/logout")

    assert guess(hers, times=11) == [401] * 10 + [429]
    assert hers.log_in("olga").status_code == 429
    assert at("192.0.2.7").log_in("olga").status_code == 303


def test_a_browser_is_known_only_to_the_users_who_have_logged_in_there(at, besieged):
    hers = at("192.0.2.7")
    hers.log_in("rita")
    hers.post("/logout")

    assert guess(hers, times=4) == [401, 401, 401, 429]


def test_a_browser_cannot_make_itself_known(at, besieged):
    forger = at("192.0.2.7")
    forger.client.cookies.set(known_browsers.COOKIE, "WyJ4Iiwib2xnYSJd.aaaaaa.bbbbbb")

    assert guess(forger, times=4) == [401, 401, 401, 429]


def test_a_browser_that_two_users_share_knows_both(at):
    browser = at("192.0.2.7")
    for name in ("olga", "rita"):
        assert browser.log_in(name).status_code == 303
        browser.post("/logout")

    for name in ("olga", "rita"):
        assert guess(browser, name, times=11) == [401] * 10 + [429]


def test_a_browser_remembers_the_latest_users(people):
    """Otherwise its cookie would grow."""
    scope = {"type": "http", "scheme": "http", "path": "/", "headers": []}
    for number in range(known_browsers.MOST_NAMES + 2):
        response = Response()
        known_browsers.remember_user(Request(scope), response, f"user {number}")
        [cookie] = [value for name, value in response.raw_headers if name == b"set-cookie"]
        scope = scope | {"headers": [(b"cookie", cookie.partition(b";")[0])]}

    found = known_browsers.read_browser(Request(scope))

    assert found.names == tuple(f"user {number}" for number in range(6, 1, -1))


def attempt(address="192.0.2.7"):
    return LoginAttempt("olga", address, "Firefox", None)


def test_of_many_guesses_at_once_no_more_are_checked(people, conn):
    """Those that are being checked may all be wrong."""
    limits = LoginLimits()
    login_failures.record_failure(conn, ["from 192.0.2.7"])
    for _ in range(8):
        login_failures.record_failure(conn, ["from 192.0.2.7"])

    with limits.enter(attempt()) as first, limits.enter(attempt()) as second:
        assert limits.find_refusal(attempt(), first) is None
        assert limits.find_refusal(attempt(), second) is not None
    with limits.enter(attempt()) as third:
        assert third == Counter()
        assert limits.find_refusal(attempt(), third) is None


def test_old_failures_are_deleted(conn):
    login_failures.record_failure(conn, ["old"])
    age = login_failures.KEPT + timedelta(minutes=1)
    conn.execute("UPDATE workshed.login_failures SET minute = minute - %s", (age,))
    login_failures.record_failure(conn, ["young"])

    assert login_failures.prune_failures(conn, 100) == 1
    assert conn.execute("SELECT key FROM workshed.login_failures").fetchall() == [("young",)]
    assert max(login_limits.WINDOW, login_limits.LONG_WINDOW) < login_failures.KEPT


@pytest.fixture
def slow_checks(people, monkeypatch):
    """An event until which no password is checked, and the names whose check has begun."""
    checked, checking = threading.Event(), []
    authenticate = users.authenticate_user

    def wait(known, name, password):
        checking.append(name)
        checked.wait(90)
        return authenticate(known, name, password)

    monkeypatch.setattr(users, "authenticate_user", wait)
    yield checked, checking
    checked.set()


def test_many_logins_at_once_leave_pages_and_probes_alone(slow_checks, eventually):
    """Password checks are slow, and anyone may request them."""
    checked, checking = slow_checks
    with served(create_app()) as port, ThreadPoolExecutor(60) as pool:
        origin = f"http://127.0.0.1:{port}"

        def log_in(number):
            with httpx2.Client(base_url=origin, timeout=90) as client:
                return Browser(client, origin).log_in(f"user {number}").status_code

        answers = [pool.submit(log_in, number) for number in range(60)]
        most = login.MOST_CHECKS + login.MOST_WAITING
        eventually(lambda: sum(one.done() for one in answers) == 60 - most)
        with httpx2.Client(base_url=origin, timeout=90) as client:
            assert client.get("/readyz").status_code == 200
            assert client.get("/login").status_code == 200
        assert len(checking) == login.MOST_CHECKS
        checked.set()

        assert sorted(one.result() for one in answers) == [401] * most + [429] * (60 - most)


@pytest.mark.parametrize(("password", "status"), [(PASSWORD, 303), ("wrong", 401)])
def test_a_login_that_waited_long_for_its_check_is_recorded(
    browsers, monkeypatch, conn, password, status
):
    """Otherwise a stranger could guess without being counted, by making the console busy."""
    someone = browsers()
    authenticate = users.authenticate_user

    def check_late(*words):
        clock.now += 60
        return authenticate(*words)

    monkeypatch.setattr(users, "authenticate_user", check_late)
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(request_guard, "ANSWER_S", 30.0)
    monkeypatch.setattr(waits, "time", clock)

    assert someone.log_in("olga", password).status_code == status

    (found,) = audit.list_entries(conn)
    assert found.action == ("console.login" if status == 303 else "console.login_failed")


def test_strangers_take_no_place_of_a_known_browser(slow_checks, eventually):
    """She logs in although they fill all places of unknown browsers."""
    checked, _ = slow_checks
    checked.set()
    with served(create_app()) as port, ThreadPoolExecutor(20) as pool:
        origin = f"http://127.0.0.1:{port}"

        def log_in(client, name, password):
            return Browser(client, origin).log_in(name, password).status_code

        with httpx2.Client(base_url=origin, timeout=90) as hers:
            assert log_in(hers, "olga", PASSWORD) == 303
            hers.cookies.delete("workshed_console")
            checked.clear()

            def guess_once(number):
                with httpx2.Client(base_url=origin, timeout=90) as client:
                    return log_in(client, f"user {number}", "wrong")

            guesses = [pool.submit(guess_once, number) for number in range(15)]
            eventually(lambda: sum(one.done() for one in guesses) == 5)
            her_login = pool.submit(log_in, hers, "olga", PASSWORD)
            late = pool.submit(guess_once, 15)

            assert late.result(90) == 429
            assert not her_login.done()
            checked.set()
            assert her_login.result(90) == 303
            assert sorted(one.result(90) for one in guesses) == [401] * 10 + [429] * 5
