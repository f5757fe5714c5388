"""Keep a user's token in a cookie, so that it does not stay in the address."""

import time

from starlette.requests import Request
from starlette.responses import Response

from shop.web import answers
from shop.web.token_auth import COOKIE, Caller


def enter(request: Request, who: Caller, path: str | None = None) -> Response:
    """Move the token from the address into a cookie, and lead to the page without it.

    This is a page and not a redirect, because a browser that comes from another site would follow
    a redirect without the cookie, which is `SameSite=Strict`.
    """
    answer = answers.page("enter.html", {})
    remember(request, answer, who, path)
    return answer


def remember(request: Request, answer: Response, who: Caller, path: str | None = None) -> None:
    """Set the token cookie for a path, by default that of this application."""
    answer.set_cookie(
        COOKIE,
        who.token,
        max_age=max(0, int(who.says.expires_at.timestamp() - time.time())),
        path=path or _here(request),
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )


def forget(request: Request, answer: Response) -> None:
    """Delete the token cookie of this application's path."""
    answer.delete_cookie(COOKIE, path=_here(request), httponly=True, samesite="strict")


def _here(request: Request) -> str:
    return request.scope.get("root_path") or "/"
