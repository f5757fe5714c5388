"""The shop in headless Chromium, with a real worker."""

import os
import secrets
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from playwright.sync_api import expect

from shop import orders, people, reports
from shop.orders import OrderLine
from shop.settings import settings as shop_settings
from tests.service.e2e.test_pictures_page import complaints, jpeg, shoot
from tests.service.integration.notifications.served import ROOT, Served
from workshed import db
from workshed.settings import settings

__all__ = ["complaints", "shoot"]

SITE = ("uvicorn", "--factory", "shop.demo.site:create_app", "--port", "0")
ROWS = 5_000


@pytest.fixture
def site(warm, broker, environment, tmp_path, monkeypatch):
    """A process that serves the shop, the pictures and the unsubscribe page."""
    monkeypatch.setenv("WORKSHED_STORAGE_URL", f"file:{tmp_path}/contents")
    monkeypatch.setenv("WORKSHED_SECRET_KEY", secrets.token_urlsafe(32))
    settings.cache_clear()
    log, env = tmp_path / "site.log", {**os.environ, "PYTHONPATH": str(ROOT)}
    served = Served(warm.start(*SITE, env=env, log=log), log)
    yield served
    served.end()
    assert "Traceback" not in served.text()


@pytest.fixture
def open_page(chromium, site, complaints):
    """`open_page(width=1200, dark=False)`: the shop in a new browser."""
    contexts = []

    def open_page(width=1200, *, dark=False, **options):
        size = {"width": width, "height": 900}
        scheme = "dark" if dark else "light"
        context = chromium.new_context(viewport=size, color_scheme=scheme, **options)
        contexts.append(context)
        page = context.new_page()
        page.on(
            "console",
            lambda said: said.type in ("error", "warning") and complaints.append(said.text),
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(site.url)
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def sold(site):
    """Three clocks, paid yesterday by another user."""
    with db.transaction() as conn:
        user = people.create(conn, name="Bob", email="bob@example.org")
        yesterday = reports.resolve_day(conn, None, shop_settings().report_zone)
        line = OrderLine(orders.get_or_create_product(conn, "Wall clock"), 3, Decimal("54.00"))
        orders.place_order(conn, user.id, "EUR", [line], yesterday.starts_at + timedelta(hours=1))


@pytest.fixture
def move(conn):
    """`move(2)`: mark two of the only import's four rows as done, as a worker does."""
    conn.autocommit = True

    def move(ended):
        query = """
            UPDATE shop.imports
               SET state = 'processing', rows_read = 4, queued_upto = 4, total = 4, succeeded = %s
        """
        conn.execute(query, (ended,))

    return move


def sign_up(page):
    page.get_by_label("Name").fill("Ada")
    page.get_by_label("E-mail").fill("ada@example.org")
    page.get_by_role("button", name="Sign up").click()
    expect(page.get_by_role("heading", name="Shop", exact=True)).to_be_visible()


def people_csv(count, first=1):
    rows = "".join(f"Person {n},p{n}@example.org\n" for n in range(first, first + count))
    text = f"name,email\n{rows}Stranger,\n"
    return {"name": "people.csv", "mimeType": "text/csv", "buffer": text.encode()}


def hand_in(page, file):
    page.get_by_label("A CSV of people").set_input_files(file)
    page.get_by_role("button", name="Import").click()


def order(page, product, quantity):
    page.get_by_label(f"Quantity of {product}").fill(str(quantity))
    page.get_by_role("button", name=f"Order {product}").click()


def test_all_that_the_shop_has_is_done_by_a_worker(open_page, start_worker, sold, count, shoot):
    start_worker(threads=2)
    page = open_page()

    sign_up(page)

    page.get_by_role("link", name="Your pictures").click()
    page.get_by_label("Add pictures").set_input_files(
        {"name": "cat.jpg", "mimeType": "image/jpeg", "buffer": jpeg("teal", (1600, 1200))}
    )
    page.evaluate("window.mark = 'same page'")
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_role("img", name="cat.jpg")).to_be_visible()
    assert page.evaluate("window.mark") == "same page"
    page.go_back()

    hand_in(page, people_csv(ROWS))
    page.evaluate("window.mark = 'same page'")
    end = "5,000 became users, 1 failed."
    expect(page.locator("#imported")).to_contain_text(end)
    bar = page.get_by_role("progressbar")
    assert [bar.get_attribute(name) for name in ("value", "max")] == ["5001", "5001"]
    expect(page.locator("#said")).to_have_text(end)
    assert page.evaluate("window.mark") == "same page"
    with page.expect_download() as download:
        page.get_by_role("link", name="The rows that failed").click()
    assert "the address is missing" in Path(download.value.path()).read_text("utf-8-sig")

    order(page, "Notebook, dotted", 3)
    expect(page.get_by_role("row", name="Notebook, dotted")).to_contain_text("37.35 EUR")

    page.get_by_role("button", name="Run the report").click()
    page.evaluate("window.mark = 'same page'")
    expect(page.locator("#reported")).to_contain_text("Revenue: 162.00 EUR")
    expect(page.locator("#reported")).to_contain_text("Active users: 1.")
    assert page.evaluate("window.mark") == "same page"
    shoot(page, "shop-done")
    assert count("shop.orders") == 2
    assert count("shop.users") == ROWS + 2


def test_without_scripts_all_but_uploads_can_be_done(open_page, sold, move, count):
    page = open_page(java_script_enabled=False)
    sign_up(page)

    order(page, "Walnut desk", 2)
    expect(page.get_by_role("row", name="Walnut desk")).to_contain_text("899.80 EUR")
    page.get_by_role("button", name="Run the report").click()
    expect(page.locator("#reported")).to_contain_text("is being made")
    hand_in(page, people_csv(3))
    expect(page.locator("#imported")).to_contain_text("0 rows are read.")
    page.wait_for_load_state()  # a page that is still loading cannot be reloaded
    move(2)
    page.reload()
    expect(page.locator("#imported")).to_contain_text("2 of 4 rows are done.")
    page.get_by_role("button", name="Sign out").click()

    expect(page.get_by_role("heading", name="Sign up")).to_be_visible()
    assert count("shop.orders") == 2


def test_a_bar_moves_by_itself_and_leaves_what_was_chosen(open_page, move):
    page = open_page()
    sign_up(page)
    hand_in(page, people_csv(3))
    bar = page.get_by_role("progressbar")
    expect(page.locator("#imported")).to_contain_text("0 rows are read.")
    page.get_by_label("A CSV of people").set_input_files(people_csv(1))

    for done in (1, 3):
        move(done)
        expect(bar).to_have_attribute("value", str(done))

    chosen = page.get_by_label("A CSV of people").evaluate("input => input.files.length")
    assert chosen == 1


def test_a_bar_goes_on_after_its_server_was_away(open_page, move, complaints):
    page = open_page()
    sign_up(page)
    hand_in(page, people_csv(3))
    page.wait_for_load_state()  # including its script
    page.route("**/*", lambda route: route.abort())
    expect(page.get_by_text("Connecting again")).to_be_visible()
    move(2)

    page.unroute("**/*")
    page.route("**/*", lambda route: route.fulfill(status=503), times=1)

    expect(page.get_by_text("The shop cannot be reached")).to_be_visible()
    bar = page.get_by_role("progressbar")
    expect(bar).to_have_attribute("value", "2")
    expect(page.locator("#said")).to_have_text("")
    assert all("Failed to load resource" in text for text in complaints)
    complaints.clear()


def test_a_page_whose_user_has_signed_out_elsewhere_says_so(open_page):
    page = open_page()
    sign_up(page)
    hand_in(page, people_csv(3))

    page.context.clear_cookies()

    expect(page.get_by_text("You are signed out.")).to_be_visible()


def test_a_taken_address_is_reported_and_the_form_stays(open_page, sold, shoot, complaints):
    page = open_page()
    page.get_by_label("Name").fill("Robert")
    page.get_by_label("E-mail").fill("bob@example.org")
    page.get_by_role("button", name="Sign up").click()

    expect(page.get_by_label("Name")).to_have_value("Robert")
    expect(page.get_by_label("E-mail")).to_have_value("bob@example.org")
    expect(page.get_by_label("E-mail")).to_have_accessible_description(
        "This address is already in use. Use another one."
    )
    complaints.clear()  # the browser reports the 409
    shoot(page, "shop-taken")


@pytest.mark.sample(2)
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1200])
def test_the_shop_fits_any_screen(open_page, sold, shoot, width, dark):
    page = open_page(width, dark=dark)
    sign_up(page)
    order(page, "Walnut desk", 2)
    file = people_csv(3)
    hand_in(page, {**file, "name": "a-very-long-name-without-any-space-" * 4 + ".csv"})

    expect(page.get_by_role("progressbar")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    red = int(background.removeprefix("rgb(").split(",")[0])
    assert (red < 60) == dark
    shoot(page, f"shop-{width}-{'dark' if dark else 'light'}")
