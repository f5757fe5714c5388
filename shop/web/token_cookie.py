"""Put the token of a user into a cookie, so that it stands in no address."""

import time

from starlette.requests import Request
from starlette.responses import Response

from shop.web import answers
from shop.web.token_auth import COOKIE, Caller


def enter(request: Request, who: Caller, path: str | None = None) -> Response:
    """Take the token out of the address, and lead to the page without it.

    Not by a redirect: a browser that came here from another site would follow it without the
    cookie, which is `SameSite=Strict`. The page that leads on is of this site.
    """
    answer = answers.page("enter.html", {})
    remember(request, answer, who, path)
    return answer


def remember(request: Request, answer: Response, who: Caller, path: str | None = None) -> None:
    """Have the browser show the token from now on, under a path; without one, where this app is."""
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
    """Have the browser show no token from now on, where this app is."""
    answer.delete_cookie(COOKIE, path=_here(request), httponly=True, samesite="strict")


def _here(request: Request) -> str:
    return request.scope.get("root_path") or "/"
