"""The console as a browser sees it, without one: the pages it gets and the forms it sends back."""

import html
import re
import socket
import threading
from contextlib import ExitStack, contextmanager
from urllib.parse import quote_plus

import pytest
import uvicorn
from argon2 import PasswordHasher
from starlette.testclient import TestClient

from workshed import db
from workshed.console.web import create_app, live, menu, request_guard
from workshed.console.web.auth import sessions, users
from workshed.console.web.pages import overview, queues
from workshed.console.web.view import cache
from workshed.jobs.control.console_sessions import SessionOrigin
from workshed.settings import settings

PASSWORD = "correct horse battery"
HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
"""A cheaper hash than those of real passwords."""
PEOPLE = {"olga": "operator", "rita": "reader"}
ORIGIN = "http://testserver"
DOMAIN = "testserver.local"
"""Of its cookies: a host without a dot gets this suffix in a cookie jar."""
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


class Browser:
    """A person who looks at pages and presses buttons."""

    def __init__(self, client, origin=ORIGIN):
        self.client = client
        self.origin = origin

    def get(self, path, **headers):
        """Request a page as a browser does."""
        return self.client.get(path, headers={"accept": "text/html", **headers})

    def json(self, path):
        """Return the JSON of a page; `path` is that of the page, with its query."""
        path, _, query = path.partition("?")
        answer = self.client.get(f"{path if path != '/' else '/overview'}.json?{query}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def csrf(self, path="/"):
        """Return the token that a form of this page sends back."""
        return html.unescape(re.search(r'name="csrf" value="([^"]+)"', self.get(path).text)[1])

    def post(self, path, fields=(), *, csrf=None, **headers):
        """Press a button; `fields`: pairs, or a dict."""
        pairs = list(dict(fields).items()) if isinstance(fields, dict) else list(fields)
        pairs.append(("csrf", self.csrf() if csrf is None else csrf))
        headers = {"origin": self.origin, "accept": "text/html", **headers}
        content = "&".join(f"{quoted(name)}={quoted(value)}" for name, value in pairs)
        kind = "application/x-www-form-urlencoded"
        return self.client.post(path, content=content, headers={"content-type": kind, **headers})

    def submit(self, path, fields=()):
        """Press a button; return the message on the next page."""
        answer = self.post(path, fields)
        assert answer.status_code == 303, answer.text
        said = re.search(r'class="said"[^>]*>(.*?)</p>', self.get(answer.headers["location"]).text)
        return html.unescape(said[1])

    def log_in(self, name, password=PASSWORD, **headers):
        """Log in with a password."""
        fields = {"name": name, "password": password, "next": "/"}
        return self.post("/login", fields, csrf=self.csrf("/login"), **headers)


def quoted(value):
    """Encode a form value."""
    return quote_plus(str(value))


@pytest.fixture(autouse=True)
def _ask_again():
    """Forget cached answers of the servers, which have the same URLs in each test."""
    for kept in (cache.status_cache, overview.throughput_cache, queues.counts_cache):
        kept.clear()
    menu._checked_schemas.clear()


@pytest.fixture
def people(database, monkeypatch):
    """The people in `PEOPLE` may use the console."""
    said = " ".join(f"{name}:{role}:{HASH}" for name, role in PEOPLE.items())
    monkeypatch.setenv("WORKSHED_CONSOLE_USERS", said)
    monkeypatch.setenv("WORKSHED_SECRET_KEY", "k" * 40)
    # On a busy machine a connection may take longer than the 5 s after which the page gives up.
    monkeypatch.setattr(db, "POOL_WAIT_S", 90)
    monkeypatch.setattr(request_guard, "ANSWER_S", 90.0)
    monkeypatch.setattr(live, "ANSWER_S", 90.0)
    settings.cache_clear()


@contextmanager
def served(app):
    """Serve an application from a thread of this process; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:  # otherwise the process of a failed test would not end
            server.should_exit = True
            thread.join(60)


@pytest.fixture
def conn(connect):
    """A connection in autocommit."""
    return connect(autocommit=True)


HERE = SessionOrigin("192.0.2.1", FIREFOX)


def begin_session(name, origin=HERE):
    """Begin a session without a login, which the audit would have; return its cookie."""
    with db.transaction() as conn:
        return sessions.create_session(conn, users.configured_users()[name], origin)


@pytest.fixture
def browsers(people):
    """`browsers("olga")`: a browser in which she is logged in; `browsers()`: one without login."""
    with ExitStack() as stack:

        def browser(name=None, app=None, client=("testclient", 50000)):
            app = create_app() if app is None else app
            opened = TestClient(app, follow_redirects=False, client=client)
            client = stack.enter_context(opened)
            if name is not None:
                client.cookies.set(sessions.COOKIE, begin_session(name), domain=DOMAIN)
            return Browser(client)

        yield browser
        db.get_pool().close()
        db.forget_pool()


@pytest.fixture
def operator(browsers):
    """The browser of a person who may do everything."""
    return browsers("olga")


@pytest.fixture
def reader(browsers):
    """The browser of a person who may only look."""
    return browsers("rita")
