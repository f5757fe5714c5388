"""The web console in headless Chromium, together with real workers."""

import os
import re
import secrets
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests import pages
from tests.library.e2e import console_world as shop
from tests.library.e2e.desk import Console, running
from tests.library.integration.desk.conftest import PASSWORD
from tests.library.integration.desk.planted import NOW, UUID, plant, plant_mail
from workshed.console.web.pages import list_pages as desk_pages
from workshed.jobs.dead import dead_jobs

COMMANDS = pages.block("docs/console.md", "run")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
COLOURS = ["color-contrast"]
DETAILS = {
    "/job": "id=one",
    "/batch": f"id={UUID}",
    "/import": "id=1",
    "/campaign": "id=1",
    "/report": f"date={NOW.date()}",
    "/mail/one": "id=evil",
}


MAIL = """
<link rel=preconnect href=http://AWAY><link rel=stylesheet href=http://AWAY>
<meta http-equiv=refresh content="0;url=http://AWAY">
<style>@import url(http://AWAY); h1 { color: #010203; background: url(http://AWAY) }</style>
<h1>Hello</h1><img src=http://AWAY><iframe src=http://AWAY></iframe>
<script>document.querySelector("h1").textContent = "run"; fetch("http://AWAY")</script>
<a href=http://AWAY target=_top>away</a>
<form action=http://AWAY target=_blank><button>send</button></form>
"""
"""A mail that calls home in many ways."""


@pytest.fixture(scope="module")
def secret():
    """The key with which the consoles of this module sign logins."""
    return secrets.token_urlsafe(32)


@pytest.fixture(scope="module")
def logins():
    """The state of a browser after olga's login: one login in this module is enough."""
    return {}


@pytest.fixture
def console(warm, broker, environment, tmp_path, secret):
    """The console of this test's servers; olga is an operator."""
    with running(warm, environment, tmp_path, secret, olga="operator") as started:
        yield started


@pytest.fixture
def conn(connect):
    """One connection, in autocommit so that the console sees what is written."""
    return connect(autocommit=True)


@pytest.fixture
def open_page(chromium, console, logins):
    """`open_page("/dead", javascript=True)`: a page, opened by a user who has logged in."""
    contexts = []

    def open_page(path="/", *, javascript=True):
        context = chromium.new_context(
            viewport={"width": 1280, "height": 900},
            java_script_enabled=javascript,
            storage_state=logins.get("olga"),
        )
        contexts.append(context)
        page = context.new_page()
        page.complaints = []
        page.on(
            "console", lambda line: not is_of_a_mail(line) and page.complaints.append(line.text)
        )
        page.on("dialog", lambda dialog: page.complaints.append(dialog.message))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.goto(console.url + path)
        if "olga" not in logins:
            page.fill("input[name=name]", "olga")
            page.fill("input[name=password]", PASSWORD)
            page.click("text=Log in")
            page.wait_for_url(console.url + path)
            logins["olga"] = context.storage_state()
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def bank(connect):
    """The bank that charges the cards: it answers once `bank()` was called."""
    conn = connect(autocommit=True)
    conn.execute("CREATE TABLE public.bank_answers (at timestamptz)")
    conn.execute("CREATE TABLE public.charges (order_id bigint)")
    return lambda: conn.execute("INSERT INTO public.bank_answers VALUES (now())")


def test_the_commands_of_the_page_start_it(broker, environment, tmp_path, chromium):
    (tmp_path / "run.sh").write_text(
        COMMANDS.replace("workshed console --port 8080", 'exec workshed console "$@"')
    )
    folder = str(Path(sys.executable).parent)
    log = tmp_path / "page.log"
    env = {**os.environ, **environment, "PATH": f"{folder}:{os.environ['PATH']}"}

    def start(*words):
        with log.open("wb") as out:
            command = ["sh", tmp_path / "run.sh", *words]
            return subprocess.Popen(command, env=env, stdout=out, stderr=out)

    started = Console(log, start)
    page = chromium.new_page()

    page.goto(started.url)
    page.fill("input[name=name]", "olga")
    page.fill("input[name=password]", PASSWORD)
    page.click("text=Log in")

    expect(page.locator("h1")).to_have_text("Overview")
    page.close()
    started.stop()


@pytest.mark.parametrize("javascript", [True, False], ids=["javascript", "no javascript"])
def test_a_group_of_the_dead_is_retried_and_succeeds(
    bank, open_page, start_worker, conn, count, eventually, javascript
):
    start_worker("tests.library.e2e.console_world")
    for order in (1, 2, 3):
        shop.charge_card.send(order, "4242 4242")
    eventually(lambda: count("workshed.dead") == 3)
    page = open_page("/dead", javascript=javascript)
    expect(page.locator("main")).to_contain_text("GatewayError")
    expect(page.locator("main")).to_contain_text("charge_card")
    bank()

    page.get_by_role("button", name=re.compile("^Retry")).first.click()
    expect(page.locator("main")).to_contain_text("3 jobs")
    page.get_by_role("button", name=re.compile("^Retry 3 jobs")).click()

    expect(page.locator(".said")).to_contain_text("3 jobs")
    eventually(lambda: count("charges") == 3)
    eventually(lambda: count("workshed.runs WHERE outcome = 'succeeded'") == 3)
    page.goto(page.url.split("/dead")[0] + "/jobs")
    expect(page.locator("main")).to_contain_text("succeeded")
    assert "4242" not in page.content()
    assert page.complaints == []


def test_a_page_changes_by_itself_also_after_the_console_was_away(
    open_page, console, conn, eventually
):
    page = open_page("/dead")
    expect(page.locator("#link")).to_have_text("live")

    bury(conn, "first", "FirstError")

    expect(page.locator("main")).to_contain_text("FirstError")
    port = int(console.url.rpartition(":")[2])
    console.stop()
    bury(conn, "second", "SecondError")
    console.start(port)
    expect(page.locator("main")).to_contain_text("SecondError")


def test_a_selected_job_stays_selected_while_the_page_changes(open_page, conn):
    bury(conn, "first", "FirstError")
    page, beside = open_page("/dead"), open_page("/dead")
    expect(page.locator("#link")).to_have_text("live")
    box = page.locator("input[type=checkbox][name=id]").first
    box.check()

    bury(conn, "second", "SecondError")
    expect(beside.locator("main")).to_contain_text("SecondError")
    bury(conn, "third", "ThirdError")
    expect(beside.locator("main")).to_contain_text("ThirdError")

    expect(box).to_be_checked()
    box.uncheck()
    bury(conn, "fourth", "FourthError")
    expect(page.locator("main")).to_contain_text("FourthError")


def test_the_keyboard_alone_leads_to_a_page_and_back(open_page):
    page = open_page("/")
    expect(page.locator("#link")).to_have_text("live")

    page.keyboard.press("g")
    page.keyboard.press("d")
    expect(page.locator("h1")).to_have_text("Dead")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")

    expect(page.locator("main")).to_be_focused()


@pytest.mark.sample(1)
@pytest.mark.parametrize("rows", [True, False], ids=["rows", "empty"])
def test_all_pages_pass_axe(open_page, console, conn, tmp_path, rows):
    """WCAG 2.2 AA, as far as a program can check it, and no complaint of the browser."""
    if rows:
        plant_mail(tmp_path / "caught")
        plant(
            conn,
            **{f"workshed__{name}": {"message_id": "one"} for name in ("runs", "attempts", "dead")},
        )
    page = open_page("/")
    found = {}

    def look(path, scheme, rules):
        page.emulate_media(color_scheme=scheme)
        for problem in Axe().run(page, options={"runOnly": rules}).response["violations"]:
            places = [node["html"][:200] for node in problem["nodes"]][:3]
            title = f"{problem['id']}: {problem['help']}"
            found.setdefault(title, []).append((path, scheme, places))

    for one in desk_pages():
        if not rows and one.path in DETAILS:
            continue
        page.goto(f"{console.url}{one.path}?{DETAILS.get(one.path, '')}")
        look(one.path, "light", RULES)
        look(one.path, "dark", COLOURS)

    assert found == {}
    assert page.complaints == []


def test_the_html_of_a_mail_is_shown_and_cannot_call_home(open_page, console, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as home:
        home.setblocking(False)
        mail = MAIL.replace("AWAY", f"127.0.0.1:{home.getsockname()[1]}")
        (tmp_path / "caught" / "new").mkdir(parents=True)
        (tmp_path / "caught" / "new" / "evil").write_text(f"Content-Type: text/html\n\n{mail}")
        page = open_page("/mail/one?id=evil")

        paper = page.frame_locator("iframe.paper")
        expect(paper.locator("h1")).to_have_text("Hello")
        expect(paper.locator("h1")).to_have_css("color", "rgb(1, 2, 3)")
        paper.locator("button").click()
        paper.locator("a").click()
        page.wait_for_timeout(1_500)

        assert page.url == f"{console.url}/mail/one?id=evil"
        assert len(page.context.pages) == 1
        with pytest.raises(BlockingIOError):  # nothing has connected
            home.accept()


def is_of_a_mail(line):
    """Return whether a browser reports something that it blocked in a mail."""
    return "/mail/html" in line.location["url"]


def bury(conn, message_id, error):
    """Add a dead job."""
    dead_jobs.add_dead_job(
        conn,
        message_id=message_id,
        generation=0,
        attempt=1,
        queue="critical",
        actor="charge_card",
        body=b'{"args": [1, "x"], "kwargs": {}}',
        reason="failed once",
        error=type(error, (Exception,), {})("why"),
    )
