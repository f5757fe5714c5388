"""Cookies of the console, which scripts cannot read and forms of other sites do not send."""

from datetime import timedelta

from starlette.requests import Request
from starlette.responses import Response


def read_cookie(request: Request, name: str) -> str | None:
    """Return the value of a cookie that `set_cookie` has set, or `None`."""
    return request.cookies.get(_full_name(request, name))


def set_cookie(
    request: Request, response: Response, name: str, value: str, lifetime: timedelta | None
) -> None:
    """Set a cookie; without a lifetime, it lasts until the browser is closed.

    `Lax`, so that a link in a message opens a page without a second login.
    """
    response.set_cookie(
        _full_name(request, name),
        value,
        max_age=None if lifetime is None else int(lifetime.total_seconds()),
        path=_cookie_path(request),
        secure=_is_encrypted(request),
        httponly=True,
        samesite="lax",
    )


def delete_cookie(request: Request, response: Response, name: str) -> None:
    """Delete a cookie."""
    response.delete_cookie(
        _full_name(request, name),
        path=_cookie_path(request),
        # Browsers ignore a `Set-Cookie` with a prefix and without `Secure`.
        secure=_is_encrypted(request),
        httponly=True,
        samesite="lax",
    )


def _full_name(request: Request, name: str) -> str:
    """Return the name with a prefix that keeps others from setting the cookie.

    Browsers accept `__Host-` only from this host, over TLS and for the path `/`. A console that is
    mounted at another path has `__Secure-`, because two of them may be on one host.
    """
    if not _is_encrypted(request):
        return name
    return f"__Host-{name}" if _cookie_path(request) == "/" else f"__Secure-{name}"


def _is_encrypted(request: Request) -> bool:
    # Not its `url`, which cannot be read for each request that is refused.
    return bool(request.scope["scheme"] == "https")


def _cookie_path(request: Request) -> str:
    return request.scope.get("root_path") or "/"
