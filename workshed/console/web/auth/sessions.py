"""The session cookie of a user who has logged in."""

import hashlib
from collections.abc import Mapping
from datetime import timedelta

from itsdangerous import BadData
from starlette.requests import Request
from starlette.responses import Response

from workshed import secret_keys
from workshed.console.web.auth.roles import Who
from workshed.console.web.auth.users import ConsoleUser

COOKIE = "workshed_console"
LIFETIME = timedelta(hours=12)
PURPOSE = "console session"


def create_session(request: Request, response: Response, user: ConsoleUser) -> None:
    """Set the session cookie of a user, valid for `LIFETIME`."""
    said = secret_keys.create_timed_signer(PURPOSE).dumps([user.name, _fingerprint(user)])
    set_cookie(request, response, COOKIE, str(said), LIFETIME)


def end_session(request: Request, response: Response) -> None:
    """Delete the session cookie."""
    response.delete_cookie(COOKIE, path=_cookie_path(request))


def session_user(request: Request, users: Mapping[str, ConsoleUser]) -> Who | None:
    """Return the user of the session cookie, or `None`.

    Removing a user from the settings, or changing the password or role, ends the session.
    """
    try:
        said = secret_keys.create_timed_signer(PURPOSE).loads(
            request.cookies.get(COOKIE, ""), max_age=int(LIFETIME.total_seconds())
        )
        name, mark = said
    except (BadData, TypeError, ValueError):
        return None
    user = users.get(name) if isinstance(name, str) else None
    if user is None or mark != _fingerprint(user):
        return None
    return Who(user.name, user.role)


def set_cookie(
    request: Request, response: Response, name: str, value: str, lifetime: timedelta | None
) -> None:
    """Set a cookie that scripts cannot read and that forms of other sites do not send.

    `Lax`, so that a link in a message opens a page without a second login.
    """
    response.set_cookie(
        name,
        value,
        max_age=None if lifetime is None else int(lifetime.total_seconds()),
        path=_cookie_path(request),
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )


def _fingerprint(user: ConsoleUser) -> str:
    return hashlib.sha256(f"{user.role}:{user.password_hash}".encode()).hexdigest()[:16]


def _cookie_path(request: Request) -> str:
    return request.scope.get("root_path") or "/"
