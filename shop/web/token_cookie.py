"""Keep a user's token in a cookie, so that it does not stay in the address."""

import time

from starlette.requests import Request
from starlette.responses import Response

from shop.web import responses
from shop.web.token_auth import COOKIE_NAME, AuthenticatedUser


def set_from_url(request: Request, user: AuthenticatedUser, path: str | None = None) -> Response:
    """Move the token from the address into a cookie, and lead to the page without it.

    This is a page and not a redirect, because a browser that comes from another site would follow
    a redirect without the cookie, which is `SameSite=Strict`.
    """
    answer = responses.render_page("enter.html", {})
    set_cookie(request, answer, user, path)
    return answer


def set_cookie(
    request: Request, answer: Response, user: AuthenticatedUser, path: str | None = None
) -> None:
    """Set the token cookie for a path, by default that of this application."""
    answer.set_cookie(
        COOKIE_NAME,
        user.token,
        max_age=max(0, int(user.claims.expires_at.timestamp() - time.time())),
        path=path or _cookie_path(request),
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )


def clear_cookie(request: Request, answer: Response) -> None:
    """Delete the token cookie of this application's path."""
    answer.delete_cookie(COOKIE_NAME, path=_cookie_path(request), httponly=True, samesite="strict")


def _cookie_path(request: Request) -> str:
    return request.scope.get("root_path") or "/"
