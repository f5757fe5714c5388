"""The shop in this process, with requests like a browser's."""

import html
import secrets

import pytest
from starlette.testclient import TestClient

from shop.demo import site
from workshed import db
from workshed.settings import settings

OURS = {"Sec-Fetch-Site": "same-origin"}
"""The header that a browser sends for a form of the same site."""


class Browser:
    """A browser that keeps cookies and follows the redirects of forms."""

    def __init__(self):
        self.client = TestClient(site.create_app())

    def see(self, path="/"):
        """Return the text of a page."""
        answer = self.client.get(path, headers={"Accept": "text/html"})
        assert answer.status_code == 200, answer.text
        return html.unescape(answer.text)

    def post(self, path, data=None, *, headers=OURS, **more):
        """Send a form and return the answer itself."""
        return self.client.post(path, data=data, headers=headers, follow_redirects=False, **more)

    def submit(self, path, data=None, **more):
        """Send a form that succeeds; return the text of the page it leads to."""
        answer = self.post(path, data, **more)
        assert answer.status_code == 303, answer.text
        # The same origin, so that the browser sends its cookie there.
        assert answer.headers["Location"].startswith("./")
        return self.see("/" + answer.headers["Location"].removeprefix("./"))

    def refused(self, path, data=None, *, status=400, **more):
        """Send a form that is refused; return the text of the page."""
        answer = self.post(path, data, **more)
        assert answer.status_code == status, answer.text
        return html.unescape(answer.text)

    def signed_up(self, name="Ada", email="ada@example.org"):
        """Sign a user up in this browser and return it."""
        self.submit("/sign-up", {"name": name, "email": email})
        return self


@pytest.fixture
def browser(jobs, monkeypatch):
    """A browser without a user."""
    monkeypatch.setenv("WORKSHED_SECRET_KEY", secrets.token_urlsafe(32))
    settings.cache_clear()
    return Browser()


@pytest.fixture
def ada(browser):
    """The browser of a user who has just signed up."""
    return browser.signed_up()


@pytest.fixture
def rows(jobs):
    """`rows("SELECT …")`: the rows of a query."""

    def rows(query, *values):
        with db.transaction() as conn:
            return conn.execute(query, values).fetchall()

    return rows
