"""Push changes of a page to the browser, for as long as it is open."""

import asyncio
import contextlib
import difflib
import json
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import anyio
from anyio import CapacityLimiter
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from workshed import db
from workshed.console.errors import NotFoundError
from workshed.console.web.auth import csrf
from workshed.console.web.auth.authenticators import Authenticators
from workshed.console.web.auth.roles import Who
from workshed.console.web.endpoints import fill_template, load_page
from workshed.console.web.error_answers import explain_error
from workshed.console.web.request_guard import ANSWER_S
from workshed.console.web.view import responses, templates
from workshed.console.web.view.page import BadQueryError, Page
from workshed.console.web.view.static_files import static_version

REFRESH_S = 2.0
PAUSE_PER_COST = 10
"""A page is rendered again after at least so many times as long as it took."""
MOST_BYTES_PER_S = 5_000_000 / 3600
"""How much a page sends in the long run; after a large change it pauses longer,"""
LONGEST_PAUSE_S = 15.0
"""but not for longer than this."""
LATE_S = 30.0
"""A page that has not been rendered for so long after its pause is not up to date."""
BEAT_S = 15.0
"""Interval of events that only show a browser that the connection is alive."""
TOKEN_S = 3600.0
"""Interval of new tokens for the forms of a page, which expire."""
MOST_STREAMS = 100
"""Streams per process."""
MOST_STREAMS_PER_USER = 6
MOST_RENDERERS = 4
"""Threads that render live pages, so that they leave the others to requests."""
SHORT = 2_000
"""Lines up to which the difference of two versions is looked for line by line."""
FAILED = "This page failed; the log of the console has the reason."
LATE = "The console is busy."
UPDATED = "The console was updated. Reload the page."
NO_PAGE = "There is no live page at this address."
NO_PING_S = 86_400
"""Beats do what the library's pings would do."""

logger = logging.getLogger(__name__)

Render = Callable[[], str]


class LiveFeed:
    """A live page as all users of one role see it, rendered once for all browsers that show it.

    It has neither names nor tokens of a user, and no relative times; the browser adds both.
    """

    def __init__(self, render: Render, limiter: CapacityLimiter) -> None:
        """Render nothing before the first browser watches."""
        self.viewers = 0
        self.version = 0
        self.lines: list[str] = []
        self.delta: str | None = None
        """What has changed since the version before, as JSON; `None`: send all lines."""
        self.is_gone = False
        """Whether the page no longer exists."""
        self._problem: str | None = None
        self._render = render
        self._limiter = limiter
        self._late_at = float("inf")
        self._sent_bytes = 0
        self._changed = asyncio.Condition()
        self._stopped = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def problem(self) -> str | None:
        """Why the page is not up to date, or `None`."""
        return self._problem or (LATE if time.monotonic() > self._late_at else None)

    def start(self) -> None:
        """Render from now on."""
        self._task = asyncio.create_task(self._run(), name="workshed live page")

    def stop(self) -> None:
        """Stop rendering, after the version that is being rendered."""
        self._stopped.set()

    async def wait_for_change(self, version: int, within_s: float) -> None:
        """Wait until the version is a later one, but no longer than this."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s), self._changed:
                await self._changed.wait_for(lambda: self.version != version)

    async def _run(self) -> None:
        while not (self.is_gone or self._stopped.is_set()):
            cost_s = await self._render_once()
            traffic_s = min(self._sent_bytes / MOST_BYTES_PER_S, LONGEST_PAUSE_S)
            pause = max(REFRESH_S, PAUSE_PER_COST * cost_s, traffic_s)
            self._late_at = time.monotonic() + pause + LATE_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stopped.wait()

    async def _render_once(self) -> float:
        """Render a version; return how long that took in its thread, in seconds."""
        lines, delta, problem, cost_s = self.lines, None, None, 0.0
        try:
            lines, delta, cost_s = await anyio.to_thread.run_sync(
                self._make_version, limiter=self._limiter
            )
        except (NotFoundError, BadQueryError) as err:
            self.is_gone, problem = True, str(err)
        except Exception as err:  # noqa: BLE001 -- logged, if it has no explanation
            problem = self._explain(err)
        self._sent_bytes = len(delta or "")
        if self.version and (lines, problem) == (self.lines, self._problem):
            return cost_s
        self.lines, self.delta, self._problem = lines, delta, problem
        async with self._changed:
            self.version += 1
            self._changed.notify_all()
        return cost_s

    def _explain(self, err: Exception) -> str:
        """Return what the page shows for an error; log one that is a bug, once."""
        try:
            return explain_error(err)[1]
        except Exception:
            if self._problem != FAILED:
                logger.exception("a live page cannot be rendered")
            return FAILED

    def _make_version(self) -> tuple[list[str], str | None, float]:
        """Return the lines of the page, what differs from the last, and the seconds it took."""
        began = time.monotonic()
        # Not the deadline of the request that was the first to show this page.
        with db.WaitDeadline(ANSWER_S):
            lines = self._render().split("\n")
        delta = format_delta(self.lines, lines) if self.lines else None
        return lines, delta, time.monotonic() - began


class EventStreams:
    """The event streams of a process."""

    def __init__(self, doors: Authenticators, pages: tuple[Page, ...]) -> None:
        """Stream `pages` that are live to users that `doors` authenticates."""
        self._authenticators = doors
        self._pages = {page.path: page for page in pages if page.is_live}
        self._feeds: dict[tuple[Any, ...], LiveFeed] = {}
        self._streams: Counter[str] = Counter()
        """Open streams by user."""
        self._limiter: CapacityLimiter | None = None

    async def events(self, request: Request) -> Response:
        """Send the main part of the page `of`, and then what changes of it.

        `v`: the version of the scripts that the page has; a page of another release is not updated.
        """
        user = await self._authenticators.find_user(request, is_use=False)
        if user is None:
            raise HTTPException(401, "You are not logged in.")
        if request.query_params.get("v", static_version()) != static_version():
            # The scripts of that page may not understand what this release would send.
            return EventSourceResponse(_end_with_reason(UPDATED), ping=NO_PING_S)
        if self._streams[user.name] >= MOST_STREAMS_PER_USER:
            raise HTTPException(429, "You have too many live pages open.")
        if self._streams.total() >= MOST_STREAMS:
            raise HTTPException(503, "Too many live pages are open right now.")
        try:
            parts = urlsplit(request.query_params.get("of", ""))
        except ValueError:
            raise HTTPException(404, NO_PAGE) from None
        page = self._pages.get(parts.path or "/")
        if page is None:
            raise HTTPException(404, NO_PAGE)
        query = dict(parse_qsl(parts.query))
        # Counted before the answer, because many requests may arrive before the first is answered.
        self._streams[user.name] += 1
        return CountedResponse(
            self._stream(request, page, user, query), lambda: self._end_stream(user.name)
        )

    def _end_stream(self, name: str) -> None:
        self._streams[name] -= 1
        if not self._streams[name]:
            del self._streams[name]

    async def _stream(
        self, request: Request, page: Page, user: Who, query: dict[str, str]
    ) -> AsyncIterator[ServerSentEvent]:
        with self._watch(page, user, query, responses.root_path(request)) as feed:
            seen, was_problem = 0, False
            beat_at = token_at = 0.0
            while await self._is_still(request, user):
                now = time.monotonic()
                if now >= token_at:
                    yield ServerSentEvent(event="token", data=csrf.csrf_token(request, user.name))
                    token_at = now + TOKEN_S
                await feed.wait_for_change(seen, REFRESH_S)
                if not feed.version:
                    continue
                # What the browser has after this event: a slow one may take it much later.
                before, seen, problem = seen, feed.version, feed.problem
                if feed.is_gone:
                    yield ServerSentEvent(event="gone", data=problem)
                    return
                if seen != before or (problem is None) == was_problem or now >= beat_at:
                    yield choose_event(feed, before, problem, was_problem=was_problem)
                    beat_at = now + BEAT_S
                    was_problem = problem is not None

    async def _is_still(self, request: Request, user: Who) -> bool:
        """Return whether this user may go on watching."""
        with db.WaitDeadline(ANSWER_S):
            return await self._authenticators.find_user(request, is_use=False) == user

    @contextlib.contextmanager
    def _watch(self, page: Page, user: Who, query: dict[str, str], root: str) -> Any:
        """Yield the feed of a page, which runs for as long as any browser watches it."""
        if self._limiter is None:  # made here, because it belongs to the event loop
            self._limiter = CapacityLimiter(MOST_RENDERERS)
        key = (page.path, user.role, root, *sorted(query.items()))
        feed = self._feeds.get(key)
        if feed is None or feed.is_gone:
            anyone = Who("", user.role)
            feed = LiveFeed(lambda: render_main(page, anyone, query, root), self._limiter)
            self._feeds[key] = feed
            feed.start()
        feed.viewers += 1
        try:
            yield feed
        finally:
            feed.viewers -= 1
            if not feed.viewers:
                feed.stop()
                if self._feeds.get(key) is feed:
                    del self._feeds[key]


async def _end_with_reason(reason: str) -> AsyncIterator[ServerSentEvent]:
    """End a stream, for which a page then does not ask again."""
    yield ServerSentEvent(event="gone", data=reason)


class CountedResponse(EventSourceResponse):
    """An event stream that reports its end, also if the browser left before it began."""

    def __init__(self, events: AsyncIterator[ServerSentEvent], on_end: Callable[[], None]) -> None:
        """Call `on_end` once the response has ended."""
        super().__init__(events, ping=NO_PING_S)
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._on_end()


def choose_event(
    feed: LiveFeed, before: int, problem: str | None, *, was_problem: bool
) -> ServerSentEvent:
    """Return the event that brings a browser with the version `before` up to date."""
    version = str(feed.version)
    if problem is not None:
        return ServerSentEvent(event="away", data=problem)
    if feed.version == before and not was_problem:
        return ServerSentEvent(event="beat", data="")
    if feed.delta is not None and feed.version == before + 1 and not was_problem:
        return ServerSentEvent(event="change", data=feed.delta, id=version)
    return ServerSentEvent(event="page", data="\n".join(feed.lines), id=version)


def render_main(page: Page, user: Who, query: dict[str, str], root: str) -> str:
    """Render the part of a page that changes."""
    about = load_page(page, user, query, root=root, csrf="")
    template, variables = fill_template(page, about)
    text = templates.main_fragment(template, {**variables, "is_feed": True})
    return text.replace("\r", "&#13;")  # which would end a line of the event, too


def format_delta(before: list[str], after: list[str]) -> str | None:
    """Return how to make one list of lines from another, as JSON: `[[from, to, [line, …]], …]`.

    The places are those of the first list, from the last to the first. Returns `None` if all lines
    would be shorter.
    """
    start, most = 0, min(len(before), len(after))
    while start < most and before[start] == after[start]:
        start += 1
    end = 0
    while end < most - start and before[-1 - end] == after[-1 - end]:
        end += 1
    old, new = before[start : len(before) - end], after[start : len(after) - end]
    opcodes: Sequence[tuple[str, int, int, int, int]]
    opcodes = [("replace", 0, len(old), 0, len(new))]
    if len(old) + len(new) <= SHORT:
        opcodes = difflib.SequenceMatcher(None, old, new).get_opcodes()
    changes = [
        [start + first, start + last, new[left:right]]
        for tag, first, last, left, right in opcodes
        if tag != "equal"
    ]
    said = json.dumps(changes[::-1], ensure_ascii=False, separators=(",", ":"))
    return said if len(said) < sum(map(len, after)) else None
