"""Sessions and logins of the console as a process of its own, in a real browser."""

import re
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
from playwright.sync_api import expect

from tests.library.e2e.desk import running
from tests.library.integration.desk.conftest import PASSWORD, Browser

METRICS = re.compile(r"Metrics (http://127\.0\.0\.1:\d+/metrics)")
COUNTER = "workshed_console_logins_total"
STRANGERS = 60


@pytest.fixture
def log(tmp_path):
    return tmp_path / "console.log"


@pytest.fixture
def console(warm, broker, environment, tmp_path):
    """A console that serves metrics; olga is an operator, rita a reader."""
    people = {"olga": "operator", "rita": "reader"}
    words = ("--metrics-port", "0")
    with running(warm, environment, tmp_path, *words, **people) as started:
        yield started


@pytest.fixture
def open_page(chromium, console):
    """`open_page("olga")`: a page of a browser of its own, in which this user has logged in."""
    contexts = []

    def open_page(name, path="/"):
        context = chromium.new_context(viewport={"width": 1280, "height": 900})
        contexts.append(context)
        page = context.new_page()
        page.goto(console.url + path)
        page.fill("input[name=name]", name)
        page.fill("input[name=password]", PASSWORD)
        page.click("text=Log in")
        page.wait_for_url(console.url + path)
        return page

    yield open_page
    for context in contexts:
        context.close()


def test_a_logout_closes_the_live_pages_of_the_browser(open_page, console):
    page = open_page("olga", "/dead")
    other = page.context.new_page()
    other.goto(f"{console.url}/queues")
    expect(page.locator("#link")).to_have_text("live")

    other.click("text=Log out")

    page.wait_for_url(re.compile("/login"))


def test_a_command_ends_the_sessions_of_a_user(open_page, environment, run_apart):
    page, other = open_page("olga", "/dead"), open_page("rita", "/dead")
    expect(page.locator("#link")).to_have_text("live")

    done = run_apart("-m", "workshed", "console", "logout", "olga", **environment)

    assert done.stdout == "olga  ended 1 session\n", done.stderr
    page.wait_for_url(re.compile("/login"))
    other.reload()
    expect(other.locator("h1")).to_have_text("Dead")


def test_a_user_ends_another_session_by_a_button(open_page):
    page, phone = open_page("olga", "/sessions"), open_page("olga", "/dead")
    page.reload()
    rows = page.locator("main tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.filter(has_text="this one")).to_have_count(1)

    page.get_by_role("button", name="End the session in Chrome on Linux").click()

    expect(page.locator(".said")).to_have_text("1 session ended.")
    expect(rows).to_have_count(1)
    phone.wait_for_url(re.compile("/login"))


def test_an_operator_ends_all_sessions_of_a_user_by_a_button(open_page):
    page, other = open_page("olga"), open_page("rita", "/dead")
    page.goto(page.url + "sessions")

    page.get_by_role("button", name="End all sessions of rita").click()

    expect(page.locator(".said")).to_contain_text("rita: ended 1 session.")
    other.wait_for_url(re.compile("/login"))


def test_logins_are_counted_for_prometheus(console, log):
    with httpx2.Client(base_url=console.url, timeout=60) as client:
        assert Browser(client, console.url).log_in("olga").status_code == 303
    with httpx2.Client(base_url=console.url, timeout=60) as client:
        browser = Browser(client, console.url)
        answers = [browser.log_in("olga", "wrong").status_code for _ in range(12)]
    assert answers == [401] * 10 + [429] * 2
    [address] = METRICS.findall(log.read_text())

    with urllib.request.urlopen(address) as answer:  # noqa: S310 -- our own console
        lines = answer.read().decode().splitlines()

    found = dict(line.rsplit(" ", 1) for line in lines if line.startswith(COUNTER))
    assert found == {
        COUNTER + '{outcome="succeeded"}': "1.0",
        COUNTER + '{outcome="failed"}': "10.0",
        COUNTER + '{outcome="refused"}': "2.0",
    }


def test_sixty_strangers_at_once_lock_no_user_out(open_page, console):
    """She has logged in before in this browser. All of them have her address."""
    page = open_page("olga")
    page.click("text=Log out")

    def guess(number):
        with httpx2.Client(base_url=console.url, timeout=90) as client:
            return Browser(client, console.url).log_in("olga", f"guess {number}").status_code

    with ThreadPoolExecutor(STRANGERS) as pool:
        guesses = [pool.submit(guess, number) for number in range(STRANGERS)]
        page.fill("input[name=name]", "olga")
        page.fill("input[name=password]", PASSWORD)
        page.click("text=Log in")
        expect(page.locator("h1")).to_have_text("Overview")
        answers = [one.result() for one in guesses]

    assert set(answers) <= {401, 429}
    assert answers.count(401) <= 10
