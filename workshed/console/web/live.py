"""Push changes of a page to the browser, for as long as it is open."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import parse_qsl, urlsplit

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from workshed import db
from workshed.console.errors import NotFoundError
from workshed.console.web.auth.authenticators import Authenticators
from workshed.console.web.auth.roles import Who
from workshed.console.web.endpoints import fill_template, load_page
from workshed.console.web.view import templates
from workshed.console.web.view.page import BadQueryError, Page

REFRESH_S = 2.0
MOST_STREAMS = 100
"""Streams per process; a limit, because each renders its page every `REFRESH_S` seconds."""


class EventStreams:
    """The event streams of a process."""

    def __init__(self, doors: Authenticators, pages: tuple[Page, ...]) -> None:
        """Stream `pages` that are live to users that `doors` authenticates."""
        self._authenticators = doors
        self._pages = {page.path: page for page in pages if page.is_live}
        self._streams = 0

    async def events(self, request: Request) -> Response:
        """Send the main part of the page `of`, now and whenever it has changed."""
        who = await self._authenticators.find_user(request)
        if who is None:
            raise HTTPException(401, "You are not logged in.")
        parts = urlsplit(request.query_params.get("of", ""))
        page = self._pages.get(parts.path or "/")
        if page is None:
            raise HTTPException(404, "There is no live page at this address.")
        if self._streams >= MOST_STREAMS:
            raise HTTPException(503, "Too many pages of the console are open right now.")
        query = dict(parse_qsl(parts.query))
        return EventSourceResponse(self._stream_changes(request, page, who, query), ping=15)

    async def _stream_changes(
        self, request: Request, page: Page, who: Who, query: dict[str, str]
    ) -> AsyncIterator[ServerSentEvent]:
        self._streams += 1
        last = ""
        try:
            while True:
                try:
                    text = await run_in_threadpool(_render_main, page, request, who, query)
                except (NotFoundError, BadQueryError):
                    return
                except db.TRANSIENT_ERRORS:
                    yield ServerSentEvent(event="away", data="PostgreSQL cannot be reached.")
                else:
                    if text != last:
                        yield ServerSentEvent(event="page", data=text)
                    last = text
                await asyncio.sleep(REFRESH_S)
                if await self._authenticators.find_user(request) is None:
                    return
        finally:
            self._streams -= 1


def _render_main(page: Page, request: Request, who: Who, query: dict[str, str]) -> str:
    return templates.main_fragment(*fill_template(page, load_page(page, request, who, query)))
