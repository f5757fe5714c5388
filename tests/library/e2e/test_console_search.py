"""Search in headless Chromium: it goes on by itself, and a wrong filter has the focus."""

import re
import threading
import time

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.conftest import HANGS_S
from tests.library.e2e.test_console_page import RULES
from tests.library.integration.console.conftest import ran
from tests.library.integration.desk.conftest import PASSWORD, people, served
from workshed import db
from workshed.console.web import create_app
from workshed.console.web.pages import job_search
from workshed.jobs.history import search

__all__ = ["people", "ran"]

HIDE = """
window.isHidden = {};
Object.defineProperty(document, "hidden", {{ get: () => window.isHidden }});
"""
SHOW = "isHidden = false; document.dispatchEvent(new Event('visibilitychange'));"


class Looks:
    """The looks at the history that the console has had: how many, and how many at once."""

    def __init__(self, search_runs):
        self.count = self.at_once = self.most_at_once = 0
        self.failing = 0
        """How many of the next ones fail."""
        self.may_end = threading.Event()
        self.may_end.set()
        self._search = search_runs
        self._lock = threading.Lock()

    def search(self, *args, **options):
        """Search, once it may end."""
        with self._lock:
            self.count += 1
            self.at_once += 1
            self.most_at_once = max(self.at_once, self.most_at_once)
            is_failing, self.failing = self.failing > 0, max(self.failing - 1, 0)
        time.sleep(0.1)  # as a real search takes a while
        self.may_end.wait(HANGS_S)
        with self._lock:
            self.at_once -= 1
        if is_failing:
            raise db.errors.QueryCanceled
        return self._search(*args, **options)


@pytest.fixture
def conn(connect):
    """A connection in autocommit."""
    return connect(autocommit=True)


@pytest.fixture
def looks(monkeypatch):
    """The looks at the history, each of two runs."""
    found = Looks(search.search_runs)
    monkeypatch.setattr(search, "FIRST_STEP", 2)
    monkeypatch.setattr(job_search, "QUICK_S", 0)
    monkeypatch.setattr(job_search, "SEARCH_S", 0)
    monkeypatch.setattr(search, "search_runs", found.search)
    return found


@pytest.fixture
def address(people, looks):
    """The address of a console."""
    with served(create_app()) as port:
        yield f"http://127.0.0.1:{port}"
    db.get_pool().close()
    db.forget_pool()


@pytest.fixture
def open_page(chromium, address):
    """`open_page("/jobs?tag=rare", javascript=True)`: a page, opened after a login."""
    contexts = []

    def open_page(path, *, javascript=True, script=""):
        context = chromium.new_context(
            viewport={"width": 1280, "height": 900}, java_script_enabled=javascript
        )
        contexts.append(context)
        page = context.new_page()
        page.complaints = []
        page.on("console", lambda line: page.complaints.append(line.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.add_init_script(script)
        page.goto(f"{address}/login?next=/audit")
        page.fill("input[name=name]", "olga")
        page.fill("input[name=password]", PASSWORD)
        page.click("text=Log in")
        page.wait_for_url(f"{address}/audit")
        page.goto(address + path)
        return page

    yield open_page
    for context in contexts:
        context.close()


def ask_something_else(page):
    """Return once the console has answered a request that the page sends now."""
    page.evaluate("fetch('/livez').then((answer) => answer.text())")


def rows(page):
    return page.locator("#results tbody tr")


def test_a_search_goes_on_by_itself_until_all_was_looked_through(open_page, ran, looks):
    for number in range(11):
        ran(str(number), tags=["rare"] if number in (0, 1, 6) else [])
    page = open_page("/jobs?tag=rare", script=HIDE.format("true"))

    for _ in range(3):  # the user comes and goes
        page.evaluate(SHOW)

    expect(page.get_by_role("status").last).to_have_text("All runs were looked through.")
    expect(page.get_by_role("link", name="Newest")).to_have_count(0)
    assert [row.split()[1] for row in rows(page).all_inner_texts()] == ["6", "1", "0"]
    assert (looks.count, looks.most_at_once) == (6, 1)
    expect(page.get_by_role("button", name="Stop searching")).to_have_count(0)
    assert re.search(r"\d+[smh] ago", rows(page).first.inner_text())
    assert page.complaints == []


def test_nothing_is_called_missing_before_the_end(open_page, ran, looks):
    for number in range(7):
        ran(str(number))

    page = open_page("/jobs?tag=rare", script=HIDE.format("true"))

    expect(page.locator("#search .empty")).to_contain_text("Not found yet: looked through 2 runs")
    expect(page.locator("main")).not_to_contain_text("No matching runs.")
    page.evaluate(SHOW)
    expect(page.locator("#results")).to_have_text("No matching runs.")


def test_a_search_can_be_stopped_and_continued(open_page, ran, looks, eventually):
    for number in range(9):
        ran(str(number))
    page = open_page("/jobs?tag=rare", script=HIDE.format("true"))
    looks.may_end.clear()
    page.evaluate(SHOW)
    eventually(lambda: looks.at_once == 1)

    page.get_by_role("button", name="Stop searching").click()
    looks.may_end.set()
    go_on = page.get_by_role("button", name="Continue searching")
    expect(go_on).to_be_visible()
    eventually(lambda: looks.at_once == 0)
    ask_something_else(page)

    assert looks.count == 2  # that of the page itself, and the one that was stopped
    go_on.click()
    expect(page.locator("#results")).to_have_text("No matching runs.")


def test_a_hidden_page_does_not_search(open_page, ran, looks):
    for number in range(9):
        ran(str(number))

    page = open_page("/jobs?tag=rare", script=HIDE.format("true"))
    page.wait_for_load_state("load")
    ask_something_else(page)

    assert looks.count == 1  # that of the page itself
    page.evaluate(SHOW)
    expect(page.locator("#results")).to_have_text("No matching runs.")


def test_a_search_ends_with_a_full_page(open_page, ran, looks):
    for number in range(60):
        ran(str(number), tags=["rare"])

    page = open_page("/jobs?tag=rare")

    expect(rows(page)).to_have_count(50)
    expect(page.get_by_role("status").last).to_have_text("The search has ended.")
    page.get_by_role("link", name="Look further").click()
    expect(rows(page)).to_have_count(10)


def test_a_look_that_fails_can_be_repeated(open_page, ran, looks):
    for number in range(5):
        ran(str(number))
    page = open_page("/jobs?tag=rare", script=HIDE.format("true"))

    looks.failing = 1
    page.evaluate(SHOW)

    expect(page.get_by_role("status").last).to_have_text("The console answered 503.")
    page.get_by_role("button", name="Continue searching").click()
    expect(page.locator("#results")).to_have_text("No matching runs.")


def test_a_search_whose_session_has_ended_leads_to_the_login(open_page, ran, looks):
    for number in range(5):
        ran(str(number))
    page = open_page("/jobs?tag=rare", script=HIDE.format("true"))

    page.context.clear_cookies()
    page.evaluate(SHOW)

    page.wait_for_url(re.compile("/login"))


def test_without_javascript_a_link_looks_further(open_page, ran, looks):
    for number in range(4):
        ran(str(number), tags=["rare"] if number == 0 else [])
    page = open_page("/jobs?tag=rare", javascript=False)

    expect(page.locator("#search")).to_contain_text("Not found yet: looked through 2 runs")
    page.get_by_role("link", name="Look further").click()

    expect(rows(page)).to_have_count(1)


@pytest.mark.parametrize("javascript", [True, False], ids=["javascript", "no javascript"])
def test_a_wrong_filter_has_the_focus_and_all_values_stay(open_page, javascript):
    page = open_page("/jobs?since=yesterday&actor=charge", javascript=javascript)
    since = page.get_by_label("Since")

    expect(since).to_be_focused()
    expect(since).to_have_value("yesterday")
    expect(since).to_have_attribute("aria-invalid", "true")
    expect(since).to_have_accessible_description(re.compile("is not a duration"))
    expect(page.get_by_label("Actor", exact=True)).to_have_value("charge")
    since.fill("2h")
    page.get_by_role("button", name="Filter").click()

    expect(page.locator("#results")).to_contain_text("No matching runs.")
    expect(page.get_by_label("Since")).to_have_value("2h")


@pytest.mark.parametrize(
    "path", ["/jobs?since=yesterday", "/jobs?before=x", "/jbos", "/dead/retry"]
)
def test_pages_about_mistakes_pass_axe(open_page, path):
    page = open_page(path)

    found = Axe().run(page, options={"runOnly": RULES}).response["violations"]

    assert found == []


def test_a_search_passes_axe(open_page, ran, looks):
    for number in range(9):
        ran(str(number), tags=["rare"] if number == 8 else [])
    page = open_page("/jobs?tag=rare", script=HIDE.format("true"))

    found = Axe().run(page, options={"runOnly": RULES}).response["violations"]

    assert found == []
    expect(page.get_by_role("button", name="Stop searching")).to_be_visible()
