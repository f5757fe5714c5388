"""Random requests to every address of the console: by strangers, readers and operators.

They reach the application directly, so they include what `workshed console` itself would refuse.
"""

import asyncio
import json
import random
import re
import time
from collections import Counter
from urllib.parse import quote_from_bytes

import pytest
from starlette.routing import Mount

from tests.library.integration.desk.hostile import ENDINGS, HOSTILE_HEADERS, ORIGIN, VALUES
from tests.library.integration.desk.planted import plant, plant_mail
from tests.library.integration.desk.test_evil import read
from tests.root import ROOT
from workshed.console.web import create_app, error_answers
from workshed.console.web.pages import list_actions
from workshed.console.web.view.safe_headers import HEADERS
from workshed.settings import settings

HANGS_S = 60
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW")
READ = re.compile(r'(?:ask\.(?:text|number|duration)|form\.(?:one|all|has))\("(\w+)"')
PAGES = ("workshed/console/web", "shop/web/pages")
SKIP = """
    SELECT setval(oid::regclass, 1000) FROM pg_class
     WHERE relkind = 'S' AND relnamespace::regnamespace::text IN ('workshed', 'shop')
"""
"""Lets generated numbers begin after those of the planted rows."""
DECLARED = [
    text.partition("{}")[0]
    for text in (
        error_answers.TOO_SLOW,
        error_answers.REPORTED,
        error_answers.NO_ANSWER,
        error_answers.NO_CONNECTION,
        error_answers.UNREACHABLE,
    )
]
"""How the texts of a 503 begin."""
REDIRECT = re.compile(r"^/(?![/\\])[ -~]*$")
"""A path of this site."""


def parameter_names():
    """Return the names of all parameters and fields that the pages read."""
    files = [file for folder in PAGES for file in (ROOT / folder).rglob("*.py")]
    found = {name for file in files for name in READ.findall(file.read_text("utf-8"))}
    return sorted(found | {"of", "query", "error_location", "longer_than", "csrf", "x"})


NAMES = parameter_names()


class Answer:
    """What the application has sent."""

    def __init__(self, sent):
        start = sent[0]
        self.status = start["status"]
        self.headers = [(name.decode("latin-1"), value) for name, value in start["headers"]]
        self.body = b"".join(message.get("body", b"") for message in sent[1:])

    def header(self, name):
        values = [value.decode("latin-1") for key, value in self.headers if key.lower() == name]
        assert len(values) <= 1, (name, values)
        return values[0] if values else ""


class Visitor:
    """Sends requests to the application, as one user or as a stranger."""

    def __init__(self, runner, browser, name):
        self.app = create_app()
        self.runner = runner
        self.name = name
        jar = browser.client.cookies.jar
        self.csrf = browser.csrf("/login" if name is None else "/audit").encode()
        self.cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in jar).encode()
        self.routes = {}
        for route in self.app._app._app.routes:
            is_folder = isinstance(route, Mount)
            path = f"{route.path}/console.css" if is_folder else route.path
            methods = {"GET", "HEAD"} if is_folder else route.methods
            self.routes[path] = self.routes.get(path, set()) | methods

    def ask(self, method, path, query=b"", headers=(), body=b"", *, logged_in=True):
        """Return the answer; an error of the application is raised, as a server would log it."""
        given = [(b"host", b"testserver"), (b"cookie", self.cookies)] if logged_in else []
        names = {name for name, _ in headers}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query,
            "root_path": "",
            "headers": [*headers, *(one for one in given if one[0] not in names)],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        sent, received = [], [{"type": "http.request", "body": body, "more_body": False}]

        async def receive():
            if received:
                return received.pop()
            await asyncio.Event().wait()  # the client stays, and sends nothing more
            return None

        async def send(message):
            sent.append(message)

        async def run():
            async with asyncio.timeout(HANGS_S):
                await self.app(scope, receive, send)

        self.runner.run(run())
        return Answer(sent)


@pytest.fixture
def runner():
    with asyncio.Runner() as found:
        yield found


@pytest.fixture
def visit(browsers, conn, broker, tmp_path, monkeypatch, runner):
    """`visit("olga")`: a visitor; all tables have rows with evil in them."""
    plant(conn)
    conn.execute(SKIP)
    plant_mail(tmp_path)
    monkeypatch.setenv("WORKSHED_SMTP_URL", f"maildir:{tmp_path}")
    settings.cache_clear()
    return lambda name: Visitor(runner, browsers(name), name)


@pytest.fixture
def seed(request):
    """The seed of random requests: `--fault-seed`, or another each time."""
    given = request.config.getoption("fault_seed")
    return random.randrange(10**6) if given is None else given  # noqa: S311 -- to repeat it


@pytest.fixture
def acted(conn):
    """`acted()`: how many actions were recorded."""
    names = [action.name for action in list_actions()]
    query = "SELECT count(*) FROM workshed.audit WHERE action = ANY(%s)"
    return lambda: conn.execute(query, (names,)).fetchone()[0]


def encoded(value, rng):
    """Encode a value for an address or a form; sometimes not as a browser does."""
    return value if rng.random() < 0.1 else quote_from_bytes(value).encode()


def pairs(rng, most):
    """Return a random query, or the body of a form."""
    return [(rng.choice(NAMES).encode(), rng.choice(VALUES)) for _ in range(rng.randrange(most))]


def joined(chosen, rng):
    return b"&".join(name + b"=" + encoded(value, rng) for name, value in chosen)


def request(rng, visitor):
    """Return a random request: the arguments of `Visitor.ask`."""
    path, methods = rng.choice(list(visitor.routes.items()))
    method = rng.choice(sorted(methods)) if rng.random() < 0.8 else rng.choice(METHODS)
    if rng.random() < 0.15:
        path += rng.choice(ENDINGS)
    elif rng.random() < 0.05:
        path = "/" + rng.choice(VALUES).decode(errors="replace")
    headers, body = [], b""
    if method == "POST":
        fields = pairs(rng, 8)
        if rng.random() < 0.8:
            fields.append((b"csrf", visitor.csrf))
        body = joined(fields, rng) if rng.random() < 0.95 else rng.choice(VALUES) * 100
        headers = [
            (b"origin", ORIGIN),
            (b"content-type", b"application/x-www-form-urlencoded"),
        ]
    if rng.random() < 0.4:
        headers += rng.sample(HOSTILE_HEADERS, rng.randrange(4))
    return method, path, joined(pairs(rng, 5), rng), headers, body


def check(visitor, sent, answer):
    """Assert what holds for every answer."""
    method, path = sent[:2]
    kind = answer.header("content-type").partition(";")[0]
    if answer.status >= 500:
        assert answer.status == 503
        assert any(text in answer.body.decode() for text in DECLARED), answer.body
    for name in HEADERS:
        assert answer.header(name.lower()), name
    if not path.startswith("/static"):
        assert answer.header("cache-control") == "no-store"
    for name, value in answer.headers:
        assert not re.search(rb"[\r\n\x00]", value), (name, value)
    if answer.header("location"):
        assert REDIRECT.match(answer.header("location")), answer.header("location")
    if answer.header("content-encoding") or method == "HEAD":
        return
    if (
        kind == "text/html"
        and answer.header("content-security-policy") == (HEADERS["Content-Security-Policy"])
    ):
        assert read(answer.body.decode()).wrong == []
    elif kind == "application/json":
        json.loads(answer.body)
    elif answer.body and kind in ("text/html", "image/svg+xml", ""):
        assert "sandbox" in answer.header("content-security-policy")


@pytest.mark.parametrize("name", [None, "rita", "olga"], ids=["stranger", "reader", "operator"])
def test_no_request_breaks_the_console(visit, acted, lane, seed, name):
    visitor = visit(name)
    before = acted()
    rng = random.Random(seed)  # noqa: S311 -- to repeat it
    statuses, slowest = Counter(), (0.0, None)
    for number in range(lane(sample=150, exhaustive=5_000)):
        asked = request(rng, visitor)
        if is_endless(visitor, asked):
            continue
        began = time.monotonic()
        try:
            answer = visitor.ask(*asked)
            check(visitor, asked, answer)
        except BaseException as err:
            err.add_note(f"seed {seed}, request {number}: {asked!r}")
            raise
        statuses[answer.status] += 1
        slowest = max(slowest, (time.monotonic() - began, asked[:3]))
    print(f"seed {seed}: {dict(statuses)}; slowest: {slowest}")  # noqa: T201 -- to repeat it

    assert slowest[0] < HANGS_S
    assert statuses[200] or name is None, statuses
    if name != "olga":
        assert acted() == before


def is_endless(visitor, sent):
    """Return whether a request would open a live page, or end the session of the visitor."""
    method, path = sent[0], sent[1].rstrip("\n")  # which a route ignores
    is_live = path == "/live" and method in ("GET", "HEAD")
    return visitor.name is not None and (is_live or (path, method) == ("/logout", "POST"))


@pytest.mark.parametrize("name", [None, "rita", "olga"], ids=["stranger", "reader", "operator"])
def test_every_address_answers_every_method(visit, acted, name):
    """A POST without a token is refused; only a stranger may log out without one."""
    visitor = visit(name)
    before, wrong = acted(), []
    for path, methods in visitor.routes.items():
        for method in METHODS:
            asked = (method, path)
            if is_endless(visitor, asked):
                continue
            answer = visitor.ask(*asked)
            check(visitor, asked, answer)
            if method not in methods:
                is_right = answer.status == 405
            elif method == "POST":
                is_right = answer.status in (401, 403) or path == "/logout"
            else:
                is_right = answer.status < 500
            if not is_right:
                wrong.append((method, path, answer.status))

    assert wrong == []
    assert acted() == before
