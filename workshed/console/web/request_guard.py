"""What holds for every request before it reaches a page: a deadline, and headers that are clear."""

from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from workshed import db
from workshed.console.web.view import responses

ANSWER_S = 8.0
"""How long a request waits for PostgreSQL, from when all of it has arrived: a hung server ends in
an error page before a user gives up."""
LONGEST_QUERY = 8_000
"""Bytes. The server of `workshed console` itself accepts 16 KiB of headers, others more."""
IDENTITY_PREFIX = b"x-workshed-"
"""Headers by which a proxy names the user."""
TWO_LENGTHS = {b"content-length", b"transfer-encoding"}
"""A proxy that reads one of them, in front of a server that reads the other, would pass on a second
request that it has not checked."""
TWO_USERS = (
    "The request names its user twice. The proxy must drop all headers that begin with X-Workshed "
    "or X_Workshed from clients."
)


class RequestGuard:
    """Refuses requests that could mean two things, and limits the waits of the others."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap the application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request, or refuse it with a notice."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        problem = find_problem(scope)
        app = responses.notice_response(Request(scope), *problem) if problem else self._app
        with db.WaitDeadline(ANSWER_S) as deadline:

            async def receive_in_time() -> Message:
                message = await receive()
                if message["type"] == "http.request":  # a part of a form, which may arrive slowly
                    deadline.restart(ANSWER_S)
                return message

            await app(scope, receive_in_time, send)


def find_problem(scope: Scope) -> tuple[HTTPStatus, str] | None:
    """Return why a request is refused, as a status and a sentence."""
    query: bytes = scope.get("query_string", b"")
    if len(query) > LONGEST_QUERY:
        return HTTPStatus.REQUEST_URI_TOO_LONG, "The address is too long. Use fewer filters."
    if not query.isascii():
        return HTTPStatus.BAD_REQUEST, "The address is not encoded: write other letters as %XX."
    if {name.lower() for name, _ in scope["headers"]} >= TWO_LENGTHS:
        return HTTPStatus.BAD_REQUEST, "The request gives its length in two ways."
    if has_ambiguous_identity(scope["headers"]):
        return HTTPStatus.BAD_REQUEST, TWO_USERS
    if not is_readable_host(Headers(scope=scope).get("host", "")):
        return HTTPStatus.BAD_REQUEST, "The Host header cannot be read."
    return None


def has_ambiguous_identity(headers: list[tuple[bytes, bytes]]) -> bool:
    """Return whether a header of an authenticating proxy occurs twice, also in another spelling.

    A proxy that adds its headers without dropping those of the client would otherwise let clients
    choose who they are; some drop `X-Workshed-User`, and pass on `X_Workshed_User`.
    """
    names = [name.lower().replace(b"_", b"-") for name, _ in headers]
    named = [name for name in names if name.startswith(IDENTITY_PREFIX)]
    return len(named) > len(set(named))


def is_readable_host(host: str) -> bool:
    """Return whether addresses can be built from a Host header, and read again."""
    try:
        return urlsplit(f"//{host}").netloc == host
    except ValueError:
        return False
