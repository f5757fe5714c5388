"""The stream of events to one browser, starting after a number."""

import asyncio
import json
import logging
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import cast

from anyio import Event
from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import SendTimeoutError
from starlette.types import Receive, Scope, Send

from shop.web.events.hub import Hub
from shop.web.events.pool import ReadPool
from shop.web.events.subscription import Subscription
from workshed.contrib.notifications import Notification, TokenClaims, live
from workshed.db import PASSING_ERRORS

logger = logging.getLogger(__name__)

AT_ONCE = 100
"""Notifications that one stream reads, and holds in memory, at a time."""
AGAIN_MS = (500, 1_500)
"""Reconnect delay of browsers, random so that they do not all come back at once after a restart."""
AFTER_A_FAILURE_S = 1.0
LAST_WORDS_S = 1.0
"""How long a stream may take to end on shutdown of the server."""


class EventStream(EventSourceResponse):
    """Sends a user's notifications after a number, or from now on, until the token expires.

    While PostgreSQL is away nothing is sent; when it is back, the stream continues.
    """

    def __init__(
        self,
        hub: Hub,
        rows: ReadPool,
        reader: TokenClaims,
        start: int | None,
        *,
        ping_s: float,
        send_s: float,
    ) -> None:
        """Prepare the stream; `start` is the last number that the browser has, `None` for now."""
        self._place = Subscription(reader.user_id)
        self._send_s = send_s
        super().__init__(
            _events(hub, rows, self._place, reader.expires_at, start),
            ping=ping_s,
            send_timeout=send_s,
            shutdown_event=cast("Event", self._place),  # only its `set` is called
            shutdown_grace_period=LAST_WORDS_S,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events as long as the browser reads them."""
        try:
            await super().__call__(scope, receive, send)
        except SendTimeoutError:
            logger.warning(
                "a browser of user %s has read nothing for %g s; its stream is closed",
                self._place.user_id,
                self._send_s,
            )


async def _events(
    hub: Hub, rows: ReadPool, place: Subscription, until: datetime, start: int | None
) -> AsyncIterator[ServerSentEvent]:
    yield ServerSentEvent(retry=random.randint(*AGAIN_MS))  # noqa: S311 -- no secret
    with hub.waking(place), _expiring(place, until):
        while not place.is_over:
            for one in await _unread(rows, place, start):
                yield _event(one)
                place.seen = one.number
    if place.is_expired:
        yield ServerSentEvent(event="expired", data="{}")  # browsers ignore events without data


@contextmanager
def _expiring(place: Subscription, at: datetime) -> Iterator[None]:
    left_s = at.timestamp() - time.time()
    timer = asyncio.get_running_loop().call_later(left_s, place.expire)
    try:
        yield
    finally:
        timer.cancel()


async def _unread(rows: ReadPool, place: Subscription, start: int | None) -> list[Notification]:
    """Wait until the stream is woken, and return the notifications that it has not sent."""
    await place.woken()
    if place.is_over:
        return []
    try:
        async with rows.connection() as conn:
            if place.seen is None:
                latest = await live.last(conn, place.user_id)
                # A number above the latest one comes from before the database was restored.
                place.seen = latest if start is None else min(start, latest)
            found = await live.after(conn, place.user_id, place.seen, AT_ONCE)
    except PASSING_ERRORS as err:
        logger.debug("a stream of user %s waits: %s", place.user_id, err)
        asyncio.get_running_loop().call_later(AFTER_A_FAILURE_S, place.wake)
        return []
    if len(found) == AT_ONCE:
        place.wake()
    return found


def _event(one: Notification) -> ServerSentEvent:
    data = json.dumps(one.data, ensure_ascii=False, separators=(",", ":"))
    return ServerSentEvent(data, event=one.event, id=str(one.number))
