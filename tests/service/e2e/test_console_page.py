"""The service's pages of the console in headless Chromium, with real workers."""

import re

import pytest
from playwright.sync_api import expect

from shop import import_actions, people
from tests.library.e2e.test_console_page import console, logins, open_page
from workshed import db
from workshed.settings import settings

__all__ = ["console", "logins", "open_page"]

WATCHED = """() => {
    window.shares = [];
    new MutationObserver(() => {
        const parts = [...document.querySelectorAll("#changing .bar rect")];
        const widths = parts.map((part) => Number(part.getAttribute("width")));
        window.shares.push(widths.reduce((sum, width) => sum + width, 0) / 100);
    }).observe(document.getElementById("changing"), {
        attributes: true, childList: true, subtree: true });
}"""
"""Records each length of a bar on the page."""


def test_the_bar_of_an_import_moves(open_page, start_worker, connect, tmp_path, monkeypatch):
    """It moves without a reload while a worker reads the file.

    The rows stop at a user whom another transaction creates, so that the page surely shows a share.
    """
    monkeypatch.setenv("WORKSHED_STORAGE_URL", f"file:{tmp_path}/contents")
    settings.cache_clear()
    file = tmp_path / "people.csv"
    rows = (f"Person {n},person{n}@example.org\n" for n in range(600))
    file.write_text("name,email\n" + "".join(rows) + "Stranger,no address\n")
    with db.transaction() as conn:
        owner = people.create(conn, name="Olga", email="olga@example.org")
    number = import_actions.import_file(file, owner.id, welcome=False, again=False)
    page = open_page(f"/import?id={number}")
    expect(page.locator("#link")).to_have_text("live")
    expect(page.locator("main")).to_contain_text("pending")
    page.evaluate(WATCHED)

    with connect() as other, other.transaction(force_rollback=True):
        people.create(other, name="Held back", email="person300@example.org")
        start_worker(threads=1, env={"SHOP_IMPORT_CHUNK": "100"})
        part = page.locator("#changing .bar rect").first
        expect(part).to_have_attribute("width", re.compile("^[1-9]"))
    expect(page.locator("main")).to_contain_text("completed")
    shares = page.evaluate("window.shares")
    assert shares == sorted(shares)
    assert any(0 < share < 1 for share in shares)
    assert shares[-1] == pytest.approx(1)
    expect(page.locator("main")).to_contain_text("no address")
    link = page.get_by_role("link", name=re.compile("CSV"))
    with page.expect_download() as download:
        link.click()
    assert "no address" in download.value.path().read_text("utf-8-sig")
