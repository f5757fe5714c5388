"""The shop in this process, asked as a browser asks it."""

import html
import secrets

import pytest
from starlette.testclient import TestClient

from shop.demo import site
from workshed import db
from workshed.settings import settings

OURS = {"Sec-Fetch-Site": "same-origin"}
"""What a browser says of a form that a page of this very site has."""


class Browser:
    """Somebody's browser: it keeps cookies, and follows where a form leads."""

    def __init__(self):
        self.client = TestClient(site.create_app())

    def see(self, path="/"):
        """The text of a page."""
        answer = self.client.get(path, headers={"Accept": "text/html"})
        assert answer.status_code == 200, answer.text
        return html.unescape(answer.text)

    def post(self, path, data=None, *, headers=OURS, **more):
        """The answer to a form, itself."""
        return self.client.post(path, data=data, headers=headers, follow_redirects=False, **more)

    def done(self, path, data=None, **more):
        """The text of the page to which a form leads that did what it should."""
        answer = self.post(path, data, **more)
        assert answer.status_code == 303, answer.text
        # Of the same origin, so that a browser shows its cookie there.
        assert answer.headers["Location"].startswith("./")
        return self.see("/" + answer.headers["Location"].removeprefix("./"))

    def refused(self, path, data=None, *, status=400, **more):
        """The text of the page by which a form is refused."""
        answer = self.post(path, data, **more)
        assert answer.status_code == status, answer.text
        return html.unescape(answer.text)

    def signed_up(self, name="Ada", email="ada@example.org"):
        """This browser, once somebody has signed up in it."""
        self.done("/sign-up", {"name": name, "email": email})
        return self


@pytest.fixture
def browser(jobs, monkeypatch):
    """A browser of nobody."""
    monkeypatch.setenv("WORKSHED_SECRET_KEY", secrets.token_urlsafe(32))
    settings.cache_clear()
    return Browser()


@pytest.fixture
def ada(browser):
    """The browser of somebody who has just signed up."""
    return browser.signed_up()


@pytest.fixture
def rows(jobs):
    """`rows("SELECT …")`: what it returns."""

    def rows(query, *values):
        with db.transaction() as conn:
            return conn.execute(query, values).fetchall()

    return rows
