"""The documentation site in a browser: search, a phone, both colour schemes."""

import functools
import re
from http.server import SimpleHTTPRequestHandler

import pytest
from playwright.sync_api import expect

from tests.loopback import Loopback

PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 900}
BRIGHTNESS = """() => {
  const colour = getComputedStyle(document.body).backgroundColor.match(/[0-9.]+/g);
  return Math.max(...colour.slice(0, 3).map(Number));
}"""


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files without a log line for each."""

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address(site):
    """The address of a server that only serves the files of the site."""
    with Loopback(functools.partial(QuietHandler, directory=str(site))) as server:
        yield f"http://{server.address}"


@pytest.fixture
def open_page(chromium, address):
    """`open_page("index.html", viewport=PHONE)`; a request to another host fails the test."""
    contexts, elsewhere, errors = [], [], []

    def open_page(path, **how):
        contexts.append(chromium.new_context(**how))
        page = contexts[-1].new_page()
        page.on("request", lambda one: one.url.startswith(address) or elsewhere.append(one.url))
        page.on("pageerror", lambda one: errors.append(str(one)))
        page.goto(f"{address}/{path}")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert elsewhere == []
    assert errors == []


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_search_finds_a_page_and_opens_it(open_page, viewport):
    page = open_page("index.html", viewport=viewport)

    page.locator("label[for=__search]:visible, .md-search__button:visible").first.click()
    page.keyboard.type("unique key")
    expect(page.get_by_text(re.compile(r"\d+ results"))).to_be_visible()
    page.keyboard.press("Enter")  # the first result

    expect(page.locator("h1")).to_contain_text("Unique jobs")


def test_no_page_scrolls_sideways_on_a_phone(open_page, site, address):
    page = open_page("index.html", viewport=PHONE)
    wide = {}
    for file in sorted(site.rglob("*.html")):
        path = file.relative_to(site).as_posix()
        page.goto(f"{address}/{path}", wait_until="domcontentloaded")
        width = page.evaluate("document.documentElement.scrollWidth")
        if width > PHONE["width"]:
            wide[path] = width

    assert wide == {}


@pytest.mark.parametrize("system", ["light", "dark"])
def test_the_scheme_is_that_of_the_system_until_the_reader_chooses(open_page, system):
    page = open_page("index.html", viewport=DESKTOP, color_scheme=system)
    picture = page.locator(f'img[src$="#only-{system}"]')
    assert (page.evaluate(BRIGHTNESS) > 200) == (system == "light")
    expect(picture).to_be_visible()

    page.get_by_title("Use the light scheme").click()
    expect(page.locator('img[src$="#only-light"]')).to_be_visible()
    assert page.evaluate(BRIGHTNESS) > 200

    page.get_by_title("Use the dark scheme").click()
    expect(page.locator('img[src$="#only-dark"]')).to_be_visible()
    assert page.evaluate(BRIGHTNESS) < 60
