"""The web console in headless Chromium, together with real workers."""

import http.server
import os
import random
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import dramatiq
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


@pytest.fixture
def logins():
    """The state of a browser after olga's login: one login in a test is enough."""
    return {}


@pytest.fixture
def console(warm, broker, environment, tmp_path):
    """The console of this test's servers; olga is an operator."""
    with running(warm, environment, tmp_path, olga="operator") as started:
        yield started


@pytest.fixture
def conn(connect):
    """One connection, in autocommit so that the console sees what is written."""
    return connect(autocommit=True)


@pytest.fixture
def open_page(chromium, console, logins):
    """`open_page("/dead", javascript=True)`: a page, opened by a user who has logged in.

    `others` are options of the browser context: `viewport`, `timezone_id`, …
    """
    contexts = []

    def open_page(path="/", *, javascript=True, **others):
        usual = {"viewport": {"width": 1280, "height": 900}, "storage_state": logins.get("olga")}
        context = chromium.new_context(java_script_enabled=javascript, **usual | others)
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

    expect(page.locator(".said")).to_have_text(re.compile(r"^\s*([^ ]+: retried[;.]\s*){3}$"))
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
    page = open_page("/dead")
    expect(page.locator("#link")).to_have_text("live")
    box = page.get_by_label("Select first")
    box.check()

    bury(conn, "second", "SecondError")
    expect(page.locator("main")).to_contain_text("SecondError")

    expect(box).to_be_checked()
    expect(page.get_by_label("Select second")).not_to_be_checked()


def test_the_keyboard_focus_stays_on_the_button_of_its_job(open_page, conn, count):
    """Enter would retry a job that the user has not chosen."""
    bury(conn, "first", "FirstError")
    page = open_page("/dead")
    expect(page.locator("#link")).to_have_text("live")
    page.get_by_role("button", name="Retry first", exact=True).focus()

    for number in range(3):
        bury(conn, f"later-{number}", f"Later{number}Error")
        expect(page.locator("main")).to_contain_text(f"Later{number}Error")
    page.keyboard.press("Enter")

    expect(page.locator(".said")).to_have_text("first: retried.")
    assert count("workshed.dead") == 3
    assert count("workshed.dead WHERE message_id = 'first'") == 0


def test_a_press_acts_on_the_job_that_it_began_on(open_page, conn, count):
    """The list moves while the button is down, and the click would be lost or hit another job."""
    bury(conn, "first", "FirstError")
    page, other = open_page("/dead"), open_page("/dead")
    expect(page.locator("#link")).to_have_text("live")
    box = page.get_by_role("button", name="Retry first", exact=True).bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)

    page.mouse.down()
    bury(conn, "second", "SecondError")
    expect(other.locator("main")).to_contain_text("SecondError")
    page.wait_for_timeout(3_000)  # more than a version
    page.mouse.up()

    expect(page.locator(".said")).to_have_text("first: retried.")
    assert count("workshed.dead WHERE message_id = 'first'") == 0
    assert count("workshed.dead WHERE message_id = 'second'") == 1


def test_a_press_of_another_button_of_the_mouse_stops_nothing(open_page, conn):
    """A context menu swallows the release."""
    bury(conn, "first", "FirstError")
    page = open_page("/dead")
    expect(page.locator("#link")).to_have_text("live")

    page.locator("h1").hover()
    page.mouse.down(button="right")
    bury(conn, "second", "SecondError")

    expect(page.locator("main")).to_contain_text("SecondError")


def test_the_focus_goes_to_no_other_action(open_page, conn):
    """Pause becomes Resume under the focus, and Enter would undo what another user has done."""
    conn.execute("INSERT INTO workshed.queues (name, kind) VALUES ('slow', 'quorum')")
    page = open_page("/queues")
    expect(page.locator("#link")).to_have_text("live")
    page.get_by_role("button", name="Pause slow").focus()

    conn.execute("UPDATE workshed.queues SET paused_at = now()")
    expect(page.get_by_role("button", name="Resume slow")).to_be_visible()
    page.keyboard.press("Enter")

    page.wait_for_timeout(1_000)
    assert page.url.endswith("/queues")
    assert page.locator(".said").count() == 0


def test_an_idle_page_is_not_touched_and_its_times_go_on(open_page, conn):
    bury(conn, "first", "FirstError")
    page = open_page("/dead")
    expect(page.locator("#link")).to_have_text("live")
    page.evaluate(COUNT_CHANGES)
    before = page.locator("tbody time").first.inner_text()

    page.wait_for_timeout(5_000)

    assert page.evaluate("changes") == []
    assert page.locator("tbody time").first.inner_text() != before


COUNT_CHANGES = """
window.changes = [];
new MutationObserver((found) => found.forEach(({ target, type }) => {
  const element = target.nodeType === Node.TEXT_NODE ? target.parentElement : target;
  if (element.nodeName !== "TIME") changes.push(`${type} of ${element.nodeName}`);
})).observe(document.body, {
  childList: true, characterData: true, attributes: true, subtree: true,
});
"""


def test_a_list_that_is_not_live_says_so_and_its_times_go_on(open_page, conn):
    conn.execute(
        """
        INSERT INTO workshed.audit (performed_by, action, details, count, summary)
        VALUES ('olga', 'dead.retry', '{}', 1, 'Retried')
        """
    )
    page = open_page("/audit")

    expect(page.locator("#link")).to_have_text("not live: reload to see changes")
    before = page.locator("tbody time").first.inner_text()
    expect(page.locator("tbody time").first).not_to_have_text(before)


def test_a_filtered_list_is_live(open_page, conn):
    """A ticked filter would count as a choice of the user, for which the page waits."""
    page = open_page("/batches?unfinished=1")
    expect(page.locator("#link")).to_have_text("live")

    conn.execute(
        "INSERT INTO workshed.batches (id, description, created_at) VALUES (%s, 'June', now())",
        (UUID,),
    )

    expect(page.locator("main")).to_contain_text("June")


class Unavailable(http.server.BaseHTTPRequestHandler):
    """What a proxy answers while a console is restarted."""

    def do_GET(self):
        self.send_error(503)

    def log_message(self, *_):
        """Write nothing."""


def test_a_page_is_stale_while_a_proxy_answers_503_and_then_live(open_page, console, conn):
    page = open_page("/dead")
    expect(page.locator("#link")).to_have_text("live")
    port = int(console.url.rpartition(":")[2])

    console.stop()
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), Unavailable) as proxy:
        threading.Thread(target=proxy.serve_forever).start()
        expect(page.locator("#link")).to_contain_text("Stale since")
        page.wait_for_timeout(3_000)  # the browser gives up at the first answer
        proxy.shutdown()
    bury(conn, "first", "FirstError")
    console.start(port)

    expect(page.locator("main")).to_contain_text("FirstError")
    expect(page.locator("#link")).to_have_text("live")


def test_a_page_whose_session_has_ended_leads_to_the_login(open_page):
    page = open_page("/dead")
    expect(page.locator("#link")).to_have_text("live")

    page.context.clear_cookies()
    page.evaluate("reopen()")

    page.wait_for_url(re.compile("/login"))


def test_the_answer_to_an_action_is_shown_once(open_page, conn):
    bury(conn, "first", "FirstError")
    page = open_page("/dead")
    page.get_by_role("button", name="Retry first", exact=True).click()
    expect(page.locator(".said")).to_have_text("first: retried.")
    assert "done=" not in page.url

    page.reload()

    expect(page.locator("h1")).to_have_text("Dead")
    expect(page.locator(".said")).to_have_count(0)


MORPH = """
([before, after, focused]) => {
  function pathOf(element, end) {
    const path = [];
    for (let one = element; one !== end; one = one.parentElement) path.unshift(one.dataset.id);
    return path;
  }
  // Whether the other version has an element below elements with these ids.
  function has(other, path) {
    let at = other;
    for (const id of path) {
      at = [...at.children].find((one) => one.dataset.id === id);
      if (!at) return false;
    }
    return true;
  }
  const box = document.createElement("div");
  box.innerHTML = before;
  document.body.append(box);
  const known = new Map([...box.querySelectorAll("[data-id]")].map((one) => [one.dataset.id, one]));
  const chosen = known.get(focused);
  const path = chosen && pathOf(chosen, box);
  chosen?.focus();
  morph(box, after);
  const found = box.innerHTML;
  const stays = new DOMParser().parseFromString(after, "text/html").body;
  const kept = !chosen || !has(stays, path)
    || (chosen.isConnected && document.activeElement === chosen);
  box.remove();
  return [found, kept];
}
"""


def some_html(rng, depth=3):
    """Return a random list of elements, some of which have an id."""
    ids, parts = rng.sample(range(8), 8), []
    for _ in range(rng.randrange(6)):
        kind = rng.choice(["text", "b", "row", "row"])
        if kind == "text":
            parts.append(rng.choice(["one", "two ", "\n  "]))
        elif kind == "b":
            parts.append(f'<b class="c{rng.randrange(3)}">{rng.choice("xyz")}</b>')
        else:
            inside = some_html(rng, depth - 1) if depth > 1 else "end"
            number = f"{depth}-{ids.pop()}"
            parts.append(f'<div tabindex="0" data-id="{number}">{inside}</div>')
    return "".join(parts)


def test_any_page_becomes_any_other_and_known_elements_stay(open_page):
    page = open_page("/audit")
    rng = random.Random(33)  # noqa: S311 -- to repeat it
    for _ in range(300):
        before, after = some_html(rng), some_html(rng)
        focused = rng.choice(re.findall(r'data-id="([^"]+)"', before) or [""])

        found, kept = page.evaluate(MORPH, [before, after, focused])

        assert normal(page, found) == normal(page, after), (before, after)
        assert kept, (before, after, focused)


def normal(page, html):
    """Return HTML as a browser writes it, with adjacent texts joined."""
    return page.evaluate(
        "(html) => { const box = document.createElement('div'); box.innerHTML = html; "
        "box.normalize(); return box.innerHTML; }",
        html,
    )


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
        conn.execute(
            "INSERT INTO workshed.run_totals "
            "VALUES (date_trunc('minute', now()), 'dead', 3, '{1,2}', '{3}')"
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
        body=dramatiq.Message("critical", "charge_card", (1, "x"), {}, {}, message_id).encode(),
        reason="failed once",
        error=type(error, (Exception,), {})("why"),
    )
