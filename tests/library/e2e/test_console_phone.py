"""The web console on a phone: rows are cards, and every action is in reach."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.library.e2e.test_console_page import (
    COLOURS,
    DETAILS,
    RULES,
    bury,
    conn,
    console,
    logins,
    open_page,
)
from tests.library.integration.desk.planted import plant, plant_mail
from workshed.console.web.pages import list_pages as desk_pages

__all__ = ["conn", "console", "logins", "open_page"]

PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1440, "height": 900}


@pytest.fixture
def planted(conn, tmp_path):
    """Each page has rows, with long texts in all of them."""
    plant_mail(tmp_path / "caught")
    one = {"message_id": "one"}
    plant(conn, **{f"workshed__{name}": one for name in ("runs", "attempts", "dead")})
    conn.execute("UPDATE workshed.dead SET actor = 'a'")  # a readable job can be retried


def addresses():
    """Return the addresses of all pages, with the rows of `planted`."""
    return [f"{one.path}?{DETAILS.get(one.path, '')}" for one in desk_pages()]


# Returns each control that a finger cannot press: out of the page, too small, or covered.
OUT_OF_REACH = """
() => {
  const found = [];
  const links = "tbody th > a:first-child, .tabs a, .pager a, .button";
  const controls = `header button, main :is(button, select, input, summary, ${links})`;
  for (const one of document.querySelectorAll(controls)) {
    if (one.type === "hidden" || !one.checkVisibility()) continue;
    one.scrollIntoView({ block: "center" });
    const target = one.closest("label.pick, label.choice, label.all") ?? one;
    const { left, right, top, bottom, width, height } = target.getBoundingClientRect();
    const at = document.elementFromPoint((left + right) / 2, (top + bottom) / 2);
    const name = `${one.nodeName} ${one.name ?? ""} ${one.textContent}`.trim();
    if (left < 0 || right > innerWidth) found.push(`out of the page: ${name}`);
    if (height < 44 || width < 24) found.push(`${width} x ${height}: ${name}`);
    if (!target.contains(at)) found.push(`under ${at?.outerHTML.slice(0, 80)}: ${name}`);
  }
  return found;
}
"""


def test_no_page_scrolls_sideways_and_every_action_is_in_reach(open_page, console, planted):
    page = open_page("/", viewport=PHONE)
    found, buttons = {}, 0
    for address in addresses():
        page.goto(console.url + address)
        buttons += page.locator("main tbody button:visible").count()
        width = page.evaluate("document.documentElement.scrollWidth")
        if width > PHONE["width"]:
            found[address] = [f"{width} px wide"]
        found.setdefault(address, []).extend(page.evaluate(OUT_OF_REACH))

    assert {address: problems for address, problems in found.items() if problems} == {}
    assert buttons > 10


@pytest.mark.sample(1)
@pytest.mark.parametrize("density", ["comfortable", "dense"])
def test_all_pages_pass_axe_on_a_phone(open_page, console, planted, density):
    page = open_page("/preferences", viewport=PHONE)
    page.get_by_label(density, exact=True).check()
    page.get_by_role("button", name="Save").click()
    found = {}
    for address in addresses():
        page.goto(console.url + address)
        for scheme, rules in (("light", RULES), ("dark", COLOURS)):
            page.emulate_media(color_scheme=scheme)
            for problem in Axe().run(page, options={"runOnly": rules}).response["violations"]:
                places = [node["html"][:200] for node in problem["nodes"]][:3]
                found.setdefault(problem["help"], []).append((address, scheme, places))

    assert found == {}
    assert page.complaints == []


@pytest.mark.sample(1)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_all_dense_pages_pass_axe_with_the_other_theme_than_the_system(
    open_page, console, planted, theme
):
    page = open_page("/preferences", viewport=DESKTOP)
    page.emulate_media(color_scheme="light" if theme == "dark" else "dark")
    page.get_by_label("dense", exact=True).check()
    page.get_by_label(theme, exact=True).check()
    page.get_by_role("button", name="Save").click()
    found = {}
    for address in addresses():
        page.goto(console.url + address)
        for problem in Axe().run(page, options={"runOnly": RULES}).response["violations"]:
            places = [node["html"][:200] for node in problem["nodes"]][:3]
            found.setdefault(problem["help"], []).append((address, places))

    assert found == {}


# Returns each cell whose label is not the head of its column.
WRONG_LABELS = """
() => [...document.querySelectorAll("tbody [data-label]")].flatMap((cell) => {
  const head = cell.closest("table").tHead.rows[0].cells[cell.cellIndex].textContent;
  return head === cell.dataset.label ? [] : [`${cell.dataset.label} is ${head}`];
})
"""


def test_cards_say_what_the_heads_of_the_columns_say(open_page, console, planted):
    page = open_page("/", viewport=PHONE)
    found, labels = {}, 0
    for address in addresses():
        page.goto(console.url + address)
        labels += page.locator("tbody [data-label]").count()
        found[address] = page.evaluate(WRONG_LABELS)

    assert {address: wrong for address, wrong in found.items() if wrong} == {}
    assert labels > 50


def test_screen_readers_still_find_a_table_with_heads(open_page, conn):
    bury(conn, "first", "FirstError")
    page = open_page("/dead", viewport=PHONE)
    expect(page.locator("#link")).to_have_text("live")

    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]

    roles = [node["role"]["value"] for node in tree if not node["ignored"]]
    assert roles.count("table") == 2
    assert roles.count("row") == 4
    assert roles.count("rowheader") == 2
    heads = [
        node["name"]["value"]
        for node in tree
        if not node["ignored"] and node["role"]["value"] == "columnheader"
    ]
    assert heads[-4:] == ["Attempt", "Release", "Died", "Actions"]


@pytest.mark.parametrize("javascript", [True, False], ids=["javascript", "no javascript"])
def test_the_menu_opens_and_leads_to_a_page(open_page, javascript):
    page = open_page("/", javascript=javascript, viewport=PHONE)
    expect(page.locator("nav")).to_be_hidden()

    page.get_by_role("button", name="Menu").click()
    expect(page.locator("nav")).to_be_visible()
    page.locator("nav").get_by_role("link", name="Dead", exact=True).click()

    expect(page.locator("h1")).to_have_text("Dead")
    expect(page.locator("nav")).to_be_hidden()


def test_on_a_wide_screen_the_menu_is_a_part_of_the_page(open_page):
    page = open_page("/", viewport=DESKTOP)

    expect(page.locator("nav")).to_be_visible()
    expect(page.get_by_role("button", name="Menu")).to_be_hidden()


TRACEBACK = "\n".join(
    [
        "Traceback (most recent call last):",
        *(
            f'  File "/srv/venv/lib/python3.13/site-packages/dramatiq/{name}.py", line 7, in call\n'
            f"    return {name}({'argument, ' * 20})"
            for name in ("worker", "actor", "broker")
        ),
        '  File "/srv/shop/actors/payments.py", line 12, in charge_card',
        "    bank.charge(order_id, card, currency, reference)",
        "GatewayError: no answer",
    ]
)


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_a_traceback_has_the_full_width_below_its_row(open_page, conn, viewport):
    bury(conn, "first", "FirstError")
    conn.execute(
        """
        INSERT INTO workshed.attempts (message_id, generation, attempt, queue, actor, outcome,
                                       reason, error_class, error, traceback)
        VALUES ('first', 0, 1, 'critical', 'charge_card', 'dead', 'GatewayError: no answer',
                'GatewayError', 'no answer', %s)
        """,
        (TRACEBACK,),
    )
    page = open_page("/job?id=first", viewport=viewport)

    folded = page.get_by_text("3 library frames")
    expect(folded).to_be_visible()
    expect(page.get_by_text("site-packages").first).to_be_hidden()
    own = page.get_by_text("bank.charge(order_id")
    expect(own).to_be_visible()
    row, region = own.bounding_box(), page.get_by_label("Attempts").bounding_box()
    assert row["x"] >= region["x"]
    assert row["x"] + row["width"] <= region["x"] + region["width"]
    assert row["width"] > 0.9 * region["width"]
    above = page.get_by_role("row", name="GatewayError").first.bounding_box()
    assert 0 <= page.locator("tr.more").bounding_box()["y"] - above["y"] - above["height"] < 4

    folded.click()
    expect(page.get_by_text("site-packages").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
