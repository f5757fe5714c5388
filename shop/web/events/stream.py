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
from workshed.contrib.notifications import Notification, TokenClaims, async_reads
from workshed.db import TRANSIENT_ERRORS

logger = logging.getLogger(__name__)

BATCH = 100
"""Notifications that one stream reads, and holds in memory, at a time."""
RECONNECT_MS = (500, 1_500)
"""Reconnect delay of browsers, random so that they do not all come back at once after a restart."""
RETRY_S = 1.0
SHUTDOWN_S = 1.0
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
        self._subscription = Subscription(reader.user_id)
        self._send_s = send_s
        super().__init__(
            _stream_events(hub, rows, self._subscription, reader.expires_at, start),
            ping=ping_s,
            send_timeout=send_s,
            shutdown_event=cast("Event", self._subscription),  # only its `set` is called
            shutdown_grace_period=SHUTDOWN_S,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events as long as the browser reads them."""
        try:
            await super().__call__(scope, receive, send)
        except SendTimeoutError:
            logger.warning(
                "a browser of user %s has read nothing for %g s; its stream is closed",
                self._subscription.user_id,
                self._send_s,
            )


async def _stream_events(
    hub: Hub, rows: ReadPool, place: Subscription, until: datetime, start: int | None
) -> AsyncIterator[ServerSentEvent]:
    yield ServerSentEvent(retry=random.randint(*RECONNECT_MS))  # noqa: S311 -- no secret
    with hub.subscribe(place), _expire_at(place, until):
        while not place.is_over:
            for one in await _wait_for_events(rows, place, start):
                yield _format_event(one)
                place.last_sent = one.number
    if place.is_expired:
        yield ServerSentEvent(event="expired", data="{}")  # browsers ignore events without data


@contextmanager
def _expire_at(place: Subscription, at: datetime) -> Iterator[None]:
    left_s = at.timestamp() - time.time()
    timer = asyncio.get_running_loop().call_later(left_s, place.expire)
    try:
        yield
    finally:
        timer.cancel()


async def _wait_for_events(
    rows: ReadPool, place: Subscription, start: int | None
) -> list[Notification]:
    """Wait until the stream is woken, and return the notifications that it has not sent."""
    await place.wait()
    if place.is_over:
        return []
    try:
        async with rows.connection() as conn:
            if place.last_sent is None:
                latest = await async_reads.last_number(conn, place.user_id)
                # A number above the latest one comes from before the database was restored.
                place.last_sent = latest if start is None else min(start, latest)
            found = await async_reads.after(conn, place.user_id, place.last_sent, BATCH)
    except TRANSIENT_ERRORS as err:
        logger.debug("a stream of user %s waits: %s", place.user_id, err)
        asyncio.get_running_loop().call_later(RETRY_S, place.wake)
        return []
    if len(found) == BATCH:
        place.wake()
    return found


def _format_event(one: Notification) -> ServerSentEvent:
    data = json.dumps(one.data, ensure_ascii=False, separators=(",", ":"))
    return ServerSentEvent(data, event=one.event, id=str(one.number))
