"""A limit of concurrent requests of one client, also of one behind a trusted proxy."""

from collections import Counter
from http import HTTPStatus

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from workshed.console.web.server.clients import Proxies
from workshed.console.web.view.safe_headers import HEADERS

TOO_MANY = "Too many requests from your address are being answered. Try again in a few seconds.\n"


class ClientLimit:
    """Passes on at most so many requests of one client at once.

    Connections of a proxy have no limit per client, because its requests have many clients.
    """

    def __init__(self, app: ASGIApp, proxies: Proxies, most: int) -> None:
        self._app = app
        self._proxies = proxies
        self._most = most
        self._under_way: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request, or refuse it with 429."""
        host = scope["client"][0] if scope.get("client") else ""
        client = self._proxies.client_of(host)
        if client is None:
            await self._app(scope, receive, send)
            return
        if self._under_way[client] >= self._most:
            refusal = PlainTextResponse(TOO_MANY, HTTPStatus.TOO_MANY_REQUESTS, headers=HEADERS)
            await refusal(scope, receive, send)
            return
        self._under_way[client] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._under_way[client] -= 1
            if not self._under_way[client]:
                del self._under_way[client]
