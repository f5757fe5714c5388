"""What holds for every request, whatever its address: clear headers, and a limit of size."""

import asyncio

import pytest

from workshed.console.web import create_app
from workshed.settings import settings

SECRET = "s" * 40
VOUCHED = {"x-workshed-secret": SECRET, "x-workshed-user": "real", "x-workshed-role": "reader"}


@pytest.fixture
def behind_proxy(browsers, monkeypatch):
    """A browser behind a proxy that authenticates users."""
    monkeypatch.setenv("WORKSHED_CONSOLE_PROXY_SECRET", SECRET)
    settings.cache_clear()
    return browsers()


@pytest.mark.parametrize(
    "added",
    [
        [("X-Workshed-User", "evil"), ("X-Workshed-Role", "operator")],
        [("X-Workshed-Role", "operator")],
        [("x-workshed-user", "real")],
        [("X_Workshed_User", "evil")],
        [("X-Workshed_Role", "operator")],
        [("X_WORKSHED-SECRET", SECRET)],
    ],
    ids=str,
)
def test_a_user_who_is_named_twice_is_refused(behind_proxy, added):
    """A proxy may add its headers, and pass on those of the client in another spelling."""
    named = [*added, *VOUCHED.items()]

    answers = [
        behind_proxy.client.get("/", headers=named),
        behind_proxy.client.get("/", headers=named[::-1]),
        behind_proxy.client.post("/queues/pause", headers=named),
    ]

    assert [answer.status_code for answer in answers] == [400, 400, 400]
    assert all("names its user twice" in answer.text for answer in answers)


def test_a_user_who_is_named_once_is_the_one(behind_proxy):
    answer = behind_proxy.get("/", **VOUCHED)

    assert answer.status_code == 200
    assert "real" in answer.text


def ask(app, **changes):
    """Return the status of a request as it might arrive from any server."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/login",
        "raw_path": b"/login",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"testserver")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        **changes,
    }
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return sent[0]["status"]


def test_a_request_with_two_lengths_is_refused(behind_proxy):
    """A proxy may have read the other one, and what follows as a request of another client."""
    lengths = {"transfer-encoding": "chunked", "content-length": "1"}

    answer = behind_proxy.client.post("/login", headers=lengths, content="0")

    assert answer.status_code == 400
    assert "length in two ways" in answer.text


def test_a_long_value_does_not_come_back_whole(browsers):
    operator = browsers("olga")

    answer = operator.post("/job/retry", {"id": "x" * 500_000})
    scheduled = operator.post("/scheduled/run", {"id": "x", "query": "?" + "q" * 500_000})

    assert answer.status_code == 404
    assert len(answer.text) < 20_000
    assert len(str(scheduled.headers)) < 9_000


@pytest.mark.parametrize("host", [b"[", b"[::1", b"a/b", b"a?b", b"a\tb", b"[zz]", b"\xff["])
def test_a_host_that_cannot_be_read_is_refused(people, host):
    assert ask(create_app(), headers=[(b"host", host)]) == 400


@pytest.mark.parametrize("host", [b"testserver:8080", b"[::1]:8080", b"127.0.0.1", b""])
def test_a_host_may_be_an_address_with_a_port(people, host):
    assert ask(create_app(), headers=[(b"host", host)]) == 200


def test_a_query_that_is_not_encoded_is_refused(people):
    assert ask(create_app(), query_string=b"next=\xff") == 400
    assert ask(create_app(), query_string=b"next=%FF") == 200


def test_an_address_that_is_too_long_is_refused_in_words(operator):
    answer = operator.get("/jobs?actor=" + "x" * 8_000)

    assert answer.status_code == 414
    assert "The address is too long" in answer.text


def test_a_client_that_leaves_before_its_form_has_arrived_is_no_error(people):
    """Otherwise anyone could fill the log with tracebacks."""
    sent = []

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "scheme": "http",
        "path": "/login",
        "query_string": b"",
        "headers": [
            (b"host", b"testserver"),
            (b"origin", b"http://testserver"),
            (b"content-type", b"application/x-www-form-urlencoded"),
        ],
    }
    asyncio.run(create_app()(scope, receive, send))

    assert sent[0]["status"] == 400


def test_no_address_leads_to_the_host_that_a_client_names(operator):
    """Another server would add or remove a slash, and redirect to that host."""
    answers = [operator.get(path, host="evil.example") for path in ("/dead/", "/static", "/jobs//")]

    assert [answer.status_code for answer in answers] == [404, 404, 404]
    assert all("location" not in answer.headers for answer in answers)
