"""The console behind a proxy, whose `X-Forwarded-For` it believes if a setting names it."""

import http.cookiejar
import re
from http import HTTPStatus
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, Request, build_opener

import pytest

from tests.library.e2e.desk import running

FIELD = re.compile(r'name="csrf" value="([^"]+)"')
GUESSES = 10


@pytest.fixture
def guess(warm, broker, environment, tmp_path, request):
    """`guess("ada", "203.0.113.7")`: the answer to a wrong login, by a proxy, from this address."""
    proxies = {"WORKSHED_CONSOLE_PROXIES": request.param}

    def log_in(name, address):
        opener = build_opener(HTTPCookieProcessor(http.cookiejar.CookieJar()))
        forwarded = {"X-Forwarded-For": address}
        asked = Request(f"{console.url}/login", headers=forwarded)  # noqa: S310 -- our own console
        with opener.open(asked) as answer:
            page = answer.read().decode()
        fields = {"name": name, "password": "wrong", "csrf": FIELD.search(page)[1]}
        said = {**forwarded, "Origin": console.url}
        sent = Request(asked.full_url, urlencode(fields).encode(), said)  # noqa: S310 -- likewise
        with pytest.raises(HTTPError) as refused, opener.open(sent):
            pass
        with refused.value as answer:
            return HTTPStatus(answer.code)

    with running(warm, {**environment, **proxies}, tmp_path, olga="operator") as console:
        yield log_in


@pytest.mark.parametrize(
    ("guess", "answer"),
    [
        ("", HTTPStatus.TOO_MANY_REQUESTS),
        ("127.0.0.1", HTTPStatus.UNAUTHORIZED),
        ("10.0.0.0/8,127.0.0.0/8", HTTPStatus.UNAUTHORIZED),
        ("10.0.0.0/8", HTTPStatus.TOO_MANY_REQUESTS),
    ],
    indirect=["guess"],
)
def test_failed_logins_count_for_the_address_that_a_trusted_proxy_forwards(guess, answer):
    """Otherwise they count for the proxy, and lock out all users behind it."""
    first = [guess(f"name {number}", "203.0.113.7") for number in range(GUESSES)]

    assert first == [HTTPStatus.UNAUTHORIZED] * GUESSES
    assert guess("another", "203.0.113.7") == HTTPStatus.TOO_MANY_REQUESTS
    assert guess("another", "203.0.113.8") == answer
