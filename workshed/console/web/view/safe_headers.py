"""Headers by which a browser does no more with an answer than it is meant for."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
UNSHARED = {"Cache-Control": "no-store"}
"""No page of a user is kept: another may use the browser next."""


class SafeHeaders:
    """Adds them to every answer that does not say otherwise."""

    def __init__(self, app: ASGIApp, **others: str) -> None:
        """Wrap an application; `others`: what is to be said in place of a header of these."""
        self._app = app
        self._headers = HEADERS | {name.replace("_", "-"): text for name, text in others.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what the application says, with the headers."""

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_safely)
