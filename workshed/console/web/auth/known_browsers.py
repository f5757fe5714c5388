"""Browsers in which a user has logged in before: strangers' failures do not count against them."""

import secrets
from datetime import timedelta

from itsdangerous import BadData
from starlette.requests import Request
from starlette.responses import Response

from workshed import secret_keys
from workshed.console.web.auth import cookies
from workshed.value_class import value_class

COOKIE = "workshed_console_browser"
PURPOSE = "console browser"
LIFETIME = timedelta(days=90)
"""Since the last login."""
MOST_NAMES = 5
"""Users that one browser is remembered for; the latest stay."""


@value_class
class KnownBrowser:
    """A browser, with the names of the users who have logged in there."""

    id: str
    names: tuple[str, ...]


def read_browser(request: Request) -> KnownBrowser | None:
    """Return the browser of a request, if any user has logged in there."""
    said = cookies.read_cookie(request, COOKIE)
    if said is None:
        return None
    most_s = int(LIFETIME.total_seconds())
    try:
        browser_id, *names = secret_keys.create_timed_signer(PURPOSE).loads(said, max_age=most_s)
    except (BadData, TypeError, ValueError):
        return None
    return KnownBrowser(browser_id, tuple(names))


def remember_user(request: Request, response: Response, name: str) -> None:
    """Set the cookie after a login of this user."""
    before = read_browser(request) or KnownBrowser(secrets.token_urlsafe(16), ())
    names = list(dict.fromkeys([name, *before.names]))[:MOST_NAMES]
    value = secret_keys.create_timed_signer(PURPOSE).dumps([before.id, *names])
    cookies.set_cookie(request, response, COOKIE, str(value), LIFETIME)
