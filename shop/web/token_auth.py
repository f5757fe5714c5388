"""Authentication by token, and protection against cross-site requests."""

from dataclasses import dataclass

from starlette.requests import Request

from workshed.contrib import notifications
from workshed.contrib.notifications import TokenClaims, TokenError

COOKIE_NAME = "workshed_token"
QUERY_PARAMETER = "token"


@dataclass(frozen=True, slots=True)
class AuthenticatedUser:
    """An authenticated user, with their token."""

    token: str
    claims: TokenClaims
    is_from_cookie: bool
    """Whether the token came in a cookie, which browsers send whichever page causes a request."""

    @property
    def user_id(self) -> int:
        """The user's id; the shop issues tokens only to users."""
        return int(self.claims.user_id)


def authenticate(request: Request) -> AuthenticatedUser:
    """Return the user who makes a request; raises `TokenError`."""
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    given = (
        bearer.strip() if scheme.lower() == "bearer" else request.query_params.get(QUERY_PARAMETER)
    )
    shown = given or request.cookies.get(COOKIE_NAME)
    if not shown:
        raise TokenError("is missing")
    return AuthenticatedUser(shown, notifications.read_token(shown), is_from_cookie=not given)


def is_same_site_intent(request: Request, user: AuthenticatedUser) -> bool:
    """Return whether a request that changes something comes from our page, or from no page.

    Browsers do not send the cookie from other sites; this also refuses other origins of this site.
    """
    return not user.is_from_cookie or is_same_origin(request)


def is_same_origin(request: Request) -> bool:
    """Return whether a page of this origin caused a request, according to the browser."""
    fetched_from = request.headers.get("sec-fetch-site")
    if fetched_from is not None:
        return fetched_from == "same-origin"
    # Browsers send that header only over TLS and to this machine, but the origin with every POST.
    host = request.headers.get("host")
    return bool(host) and request.headers.get("origin", "").partition("://")[2] == host
