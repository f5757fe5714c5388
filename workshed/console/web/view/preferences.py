"""How a browser shows the pages: choices of its user, which it keeps in a cookie."""

from collections.abc import Collection, Mapping
from datetime import timedelta

from starlette.requests import Request
from starlette.responses import Response

from workshed.console.web.auth import cookies

COOKIE = "workshed_console_preferences"
LIFETIME = timedelta(days=365)
SEPARATOR = "."
CHOICES: Mapping[str, tuple[str, ...]] = {
    "theme": ("system", "light", "dark"),
    "zone": ("local", "utc"),
    "density": ("comfortable", "dense"),
    "keys": ("on", "off"),
}
"""The first is the default. No value occurs twice, so that the cookie needs no names."""


def read_preferences(request: Request) -> dict[str, str]:
    """Return the preferences of a browser."""
    return choose_preferences((cookies.read_cookie(request, COOKIE) or "").split(SEPARATOR))


def choose_preferences(values: Collection[str]) -> dict[str, str]:
    """Return the preference that each of these values means, and otherwise the defaults."""
    return {
        name: next((one for one in allowed if one in values), allowed[0])
        for name, allowed in CHOICES.items()
    }


def set_preferences(request: Request, response: Response, values: Collection[str]) -> None:
    """Set the cookie of a browser."""
    chosen = choose_preferences(values).values()
    cookies.set_cookie(request, response, COOKIE, SEPARATOR.join(chosen), LIFETIME)
