"""Who asks: the user of the token that a request shows, and whether they meant to."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.requests import Request

from workshed.contrib import notifications
from workshed.contrib.notifications import TokenClaims, TokenError

COOKIE = "workshed_token"
QUERY = "token"


@dataclass(frozen=True, slots=True)
class Caller:
    """A user, and the way in which they proved it."""

    token: str
    says: TokenClaims
    by_cookie: bool
    """A browser sends a cookie unasked, whichever page caused the request."""

    @property
    def user_id(self) -> int:
        """The person's id in the shop, which gives tokens to nobody else."""
        return int(self.says.user_id)


def caller(request: Request) -> Caller:
    """Return who asks; raises `TokenError`."""
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    given = bearer.strip() if scheme.lower() == "bearer" else request.query_params.get(QUERY)
    shown = given or request.cookies.get(COOKIE)
    if not shown:
        raise TokenError("is missing")
    return Caller(shown, notifications.read(shown), by_cookie=not given)


def is_meant(request: Request, who: Caller) -> bool:
    """Tell whether a request that changes something comes from a page of ours, or from no page.

    The cookie is not sent from other sites; this refuses, too, other origins of the same site.
    """
    return not who.by_cookie or is_from_us(request)


def is_from_us(request: Request) -> bool:
    """Tell whether a page of this very origin has caused a request, as its browser says."""
    fetched_from = request.headers.get("sec-fetch-site")
    if fetched_from is not None:
        return fetched_from == "same-origin"
    # Browsers say it over TLS and on this machine only; the origin they say with every POST.
    origin = urlsplit(request.headers.get("origin", "")).netloc
    return bool(origin) and origin == request.headers.get("host")
