"""Debian's Chromium, as tests drive it."""

from contextlib import contextmanager

from playwright.sync_api import expect, sync_playwright

from tests.conftest import HANGS_S

CHROMIUM = "/usr/bin/chromium"
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def chromium():
    """A headless browser, for the duration of the block."""
    expect.set_options(timeout=HANGS_S * 1_000)  # 5 s were too few for its first page
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield browser
        browser.close()
