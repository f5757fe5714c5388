"""Compress answers, unless another site has chosen their address."""

from starlette.datastructures import Headers
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from workshed.console.web.auth import program_tokens

LEVEL = 5
"""More would take longer for some percent less."""
OWN_PAGES = ("same-origin", "none")
"""`Sec-Fetch-Site` of requests by our own pages, and by the user: a bookmark, an address typed."""


class Compression:
    """Compresses with gzip what our own pages, users and programs request.

    A page of another site could guess what a page contains: it opens addresses with its guesses in
    a filter, and the compressed answer is shorter for a right one (the BREACH attack).
    """

    def __init__(self, app: ASGIApp) -> None:
        """Wrap the application."""
        self._plain = app
        self._compressing = GZipMiddleware(app, compresslevel=LEVEL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request, and compress the answer if that is safe."""
        app = self._compressing if may_compress(scope) else self._plain
        await app(scope, receive, send)


def may_compress(scope: Scope) -> bool:
    """Return whether no page of another site has caused a request.

    Browsers say so over TLS and to this machine. Over a network without TLS, the answer can be read
    anyway. A page of another site has no token of a program, and could not send it.
    """
    site = Headers(scope=scope).get("sec-fetch-site")
    if site is not None:
        return site in OWN_PAGES
    token = program_tokens.read_token(Request(scope)) or ""
    return scope["scheme"] == "http" or token.startswith(program_tokens.PREFIX)
