"""The rows of lists in the web console: by keyboard, dense, in the user's zone and theme."""

import re
from datetime import UTC, datetime

import pytest
from playwright.sync_api import expect

from tests.library.e2e.test_console_page import (
    bury,
    conn,
    console,
    logins,
    open_page,
)
from tests.library.integration.console.conftest import make_batch, ran, store
from workshed.jobs.batches import batches

__all__ = [
    "conn", "console", "logins", "make_batch", "open_page", "ran", "store",
]  # fmt: skip

DESKTOP = {"width": 1440, "height": 900}
TOKYO = "Asia/Tokyo"


def choose(page, *labels):
    """Save these preferences."""
    page.goto(re.sub(r"(//[^/]+)/.*", r"\1/preferences", page.url))
    for label in labels:
        page.get_by_label(label, exact=True).check()
    page.get_by_role("button", name="Save").click()
    for label in labels:
        expect(page.get_by_label(label, exact=True)).to_be_checked()


def focused_row(page):
    """Return the id of the row that has the focus."""
    return page.evaluate("document.activeElement.closest('tr')?.dataset.id ?? null")


@pytest.fixture
def three_dead(conn):
    """Three dead jobs; in the list, the latest is the first."""
    for name in ("first", "second", "third"):
        bury(conn, name, "GatewayError")


def test_j_k_x_and_r_go_through_the_rows(open_page, conn, count, three_dead):
    page = open_page("/dead?before=2100-01-01T00:00:00Z~z")  # without the groups
    keys = page.keyboard

    places = []
    for key in "jjkjjj":
        keys.press(key)
        places.append(focused_row(page))
    assert places == ["third", "second", "third", "second", "first", "first"]

    keys.press("k")
    keys.press("x")
    expect(page.get_by_label("Select second")).to_be_checked()
    expect(page.get_by_label("Select third")).not_to_be_checked()
    assert focused_row(page) == "second"

    keys.press("r")
    expect(page.locator(".said")).to_have_text("second: retried.")
    assert count("workshed.dead WHERE message_id = 'second'") == 0
    assert count("workshed.dead") == 2


def test_after_r_the_next_row_has_the_place_of_the_row(open_page, conn, count, three_dead):
    page = open_page("/dead?queue=critical")
    expect(page.locator("#link")).to_have_text("live")
    for _ in range(3):  # past the row of the group
        page.keyboard.press("j")
    assert focused_row(page) == "second"

    page.keyboard.press("r")
    expect(page.locator(".said")).to_have_text("second: retried.")
    page.keyboard.press("j")

    assert focused_row(page) == "first"


def test_r_asks_as_the_button_does(open_page, conn, count, three_dead):
    page = open_page("/dead")
    page.keyboard.press("j")  # the group

    page.keyboard.press("r")

    expect(page.get_by_role("button", name="Retry 3 jobs")).to_be_visible()
    assert count("workshed.dead") == 3


def test_r_presses_no_button_with_another_name(open_page, conn):
    """Pause and Quiet are the first buttons of their rows, but they retry and run nothing."""
    conn.execute("INSERT INTO workshed.queues (name, kind) VALUES ('slow', 'quorum')")
    page = open_page("/queues")
    page.keyboard.press("j")
    assert focused_row(page) is not None

    sent = []
    page.on("request", lambda request: sent.append(request.method))
    page.keyboard.press("r")

    page.keyboard.press("?")  # after what the key before has done
    expect(page.get_by_role("dialog")).to_be_visible()
    assert "POST" not in sent
    assert conn.execute("SELECT FROM workshed.queues WHERE paused_at IS NOT NULL").rowcount == 0


def test_g_waits_for_a_second_key_for_a_short_time(open_page, three_dead):
    """Pressed by accident, it would open a page minutes later."""
    page = open_page("/dead")
    page.keyboard.press("g")
    page.wait_for_timeout(1_600)  # longer than it waits

    page.keyboard.press("j")

    assert focused_row(page) is not None
    assert page.url.endswith("/dead")


def test_keys_do_nothing_in_a_field_or_with_a_modifier(open_page, three_dead):
    page = open_page("/dead")
    expect(page.locator("#link")).to_have_text("live")
    field = page.get_by_label("Actor", exact=True)

    field.focus()
    page.keyboard.type("jkxr?")
    expect(field).to_have_value("jkxr?")
    expect(field).to_be_focused()
    field.evaluate("(field) => field.blur()")
    for modifier in ("Control", "Alt", "Meta"):
        page.keyboard.press(f"{modifier}+j")

    assert focused_row(page) is None
    expect(page.locator("dialog")).to_be_hidden()


def test_keys_can_be_turned_off(open_page, three_dead):
    page = open_page("/dead")
    page.keyboard.press("?")
    expect(page.locator("dialog")).to_be_visible()
    page.locator("dialog").get_by_role("link", name="Turn off").click()
    choose(page, "off")

    page.goto(page.url.replace("/preferences", "/dead"))
    for key in ("j", "?", "/", "g", "d"):
        page.keyboard.press(key)

    assert focused_row(page) is None
    expect(page.locator("dialog")).to_be_hidden()
    assert page.evaluate("document.activeElement === document.body")


def test_the_row_with_the_focus_may_go_and_the_next_has_its_place(open_page, conn, three_dead):
    page = open_page("/dead?queue=critical")
    expect(page.locator("#link")).to_have_text("live")
    for _ in range(3):
        page.keyboard.press("j")
    assert focused_row(page) == "second"

    conn.execute("DELETE FROM workshed.dead WHERE message_id = 'second'")
    expect(page.locator("[data-id=second]")).to_have_count(0)
    page.keyboard.press("j")

    assert focused_row(page) == "first"


@pytest.mark.parametrize("javascript", [True, False], ids=["javascript", "no javascript"])
def test_the_theme_and_the_density_can_be_chosen(open_page, javascript, three_dead):
    page = open_page("/dead", javascript=javascript)
    page.emulate_media(color_scheme="light")
    height = page.locator("[data-id=first]").bounding_box()["height"]
    expect(page.locator("body")).to_have_css("background-color", "rgb(246, 245, 241)")

    choose(page, "dark", "dense")
    page.goto(page.url.replace("/preferences", "/dead"))

    expect(page.locator("body")).to_have_css("background-color", "rgb(22, 24, 21)")
    assert page.locator("[data-id=first]").bounding_box()["height"] < 0.8 * height
    choose(page, "same as the system", "comfortable")
    expect(page.locator("body")).to_have_css("background-color", "rgb(246, 245, 241)")


def test_times_are_in_the_zone_of_the_device_or_in_utc(open_page, ran):
    ran("a")  # at 09:00 UTC
    page = open_page("/job?id=a", timezone_id=TOKYO)
    expect(page.locator("#link")).to_have_text("live")
    moment = page.locator(".timeline time").first

    expect(moment).to_have_text("2026-11-25 18:00:00.000 GMT+9")
    expect(moment).to_have_attribute("title", "2026-11-25 09:00:00.000 UTC")
    relative = page.locator("td time").first
    expect(relative).to_have_attribute(
        "title", "2026-11-25 18:00:00 GMT+9 (2026-11-25 09:00:00 UTC)"
    )

    choose(page, "in UTC")
    page.goto(page.url.replace("/preferences", "/job?id=a"))
    expect(moment).to_have_text("2026-11-25 09:00:00.000 UTC")
    expect(moment).to_have_attribute("title", "2026-11-25 18:00:00.000 GMT+9")


def test_without_javascript_times_name_utc(open_page, ran):
    ran("a")
    page = open_page("/job?id=a", javascript=False, timezone_id=TOKYO)

    expect(page.locator(".timeline time").first).to_have_text("2026-11-25 09:00:00.000 UTC")


def test_a_live_page_adds_no_time_in_utc(open_page, conn, ran):
    ran("a")
    page = open_page("/job?id=a", timezone_id=TOKYO)
    expect(page.locator("#link")).to_have_text("live")

    ran("a", generation=1, attempt=2, outcome="dead")

    expect(page.locator(".timeline li[data-state=dead]")).to_be_visible()
    times = page.locator(".timeline time").all_inner_texts()
    assert [text for text in times if "UTC" in text] == []
    assert len(times) == 5


def test_the_chart_begins_at_the_local_date(open_page, ran):
    """In Tokyo it is another date than in UTC from 15:00 UTC on."""
    ran("a")
    for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago"):  # 25 hours apart
        page = open_page("/", timezone_id=zone)
        text = page.locator("text[data-clock]")
        date = page.evaluate(
            """(at) => new Intl.DateTimeFormat("sv", { dateStyle: "short", timeStyle: "medium" })
                .format(new Date(at))""",
            text.get_attribute("data-clock"),
        )
        expect(text).to_have_text(re.compile(date))


@pytest.mark.parametrize(
    ("zone", "due"),
    [("in this device's time zone", "2040-01-01 00:00"), ("in UTC", "2040-01-01 09:00")],
)
def test_a_job_is_moved_to_a_time_in_the_shown_zone(open_page, conn, store, zone, due):
    store("a")
    page = open_page("/scheduled", timezone_id=TOKYO)
    choose(page, zone)
    page.goto(page.url.replace("/preferences", "/scheduled"))
    expect(page.locator(".acts")).to_contain_text("UTC" if zone == "in UTC" else TOKYO)

    page.get_by_label("or at, in").fill("2040-01-01T09:00")
    page.get_by_label(re.compile("^Select greet")).check()
    page.get_by_role("button", name="Move selected").click()

    expect(page.locator(".said")).to_contain_text("a: moved")
    (found,) = conn.execute("SELECT due_at FROM workshed.schedule").fetchone()
    assert found.astimezone(UTC) == datetime.fromisoformat(f"{due}+00:00")


@pytest.fixture
def many_runs(ran):
    """Forty runs, with ids as they usually are, and long calls and reasons."""
    for number in range(40):
        ran(
            f"95745a79-7ae1-4d0c-9b1e-{number:012d}",
            outcome="dead" if number % 3 else "succeeded",
            reason="GatewayError: the bank did not answer in time, after three attempts " * 2,
            error_class="GatewayError",
            arguments={"order_id": number, "card": "4242 4242 4242 4242", "note": "urgent " * 20},
            queue="critical",
        )


def test_a_job_takes_one_line_and_a_dense_page_has_twenty(open_page, many_runs):
    page = open_page("/jobs", viewport=DESKTOP)
    rows = page.locator("[aria-label=Runs] tbody tr")
    assert max(row.bounding_box()["height"] for row in rows.all()[:20]) < 45

    choose(page, "dense")
    page.goto(page.url.replace("/preferences", "/jobs"))

    bottoms = [row.bounding_box() for row in rows.all()]
    assert sum(box["y"] + box["height"] <= DESKTOP["height"] for box in bottoms) >= 20
    region = page.get_by_label("Runs", exact=True)
    assert region.evaluate("(region) => region.scrollWidth <= region.clientWidth")


def test_an_id_is_shown_and_copied(open_page, many_runs):
    page = open_page("/jobs", viewport=DESKTOP, permissions=["clipboard-read", "clipboard-write"])
    cell = page.locator("[aria-label=Runs] tbody tr").nth(2).locator("td:has(> .id)")
    message_id = cell.locator("code").inner_text()
    assert cell.locator("code").bounding_box()["width"] < 100

    cell.hover()
    assert cell.locator("code").bounding_box()["width"] > 200
    cell.get_by_role("button", name="Copy the id").click()
    assert page.evaluate("navigator.clipboard.readText()") == message_id

    page.mouse.move(0, 0)
    page.locator("[aria-label=Runs] tbody tr").nth(3).locator("th a").focus()
    page.keyboard.press("Tab")
    other = page.locator("[aria-label=Runs] tbody tr").nth(3).locator("td:has(> .id) code")
    assert other.bounding_box()["width"] > 200


def test_dead_jobs_do_not_repeat_what_their_columns_say(open_page, three_dead):
    page = open_page("/dead", viewport=DESKTOP)
    row = page.locator("[data-id=first]")

    assert row.bounding_box()["height"] < 45
    expect(row).not_to_contain_text("attempt")
    expect(row).not_to_contain_text("on critical")


def test_a_problem_leads_to_the_page_that_fixes_it(open_page, conn):
    conn.execute(
        """
        INSERT INTO workshed.queues (name, kind, paused_at) VALUES ('slow', 'quorum', now())
        """
    )
    page = open_page("/")

    page.get_by_role("link", name="Resume slow").click()
    row = page.locator("tr:target")
    expect(row).to_contain_text("slow")
    row.get_by_role("button", name="Resume slow").click()

    expect(page.locator(".said")).to_contain_text("slow")
    assert conn.execute("SELECT FROM workshed.queues WHERE paused_at IS NOT NULL").rowcount == 0


def test_a_failed_batch_has_a_bar_with_a_part_for_each_outcome(open_page, conn, make_batch):
    batch = make_batch("a", "b", "c", "d")
    for name, state in zip("abcd", ("succeeded", "succeeded", "cancelled", "dead"), strict=True):
        batches.end_batch_job(conn, name, state)
    page = open_page(f"/batch?id={batch}")

    widths = {
        part.get_attribute("data-state"): part.bounding_box()["width"]
        for part in page.locator("svg.bar rect").all()
    }
    assert [*widths] == ["succeeded", "cancelled", "dead"]
    assert widths["succeeded"] == pytest.approx(2 * widths["dead"], rel=0.1)
    expect(page.locator("main")).to_contain_text("2 succeeded, 1 cancelled, 1 dead")
