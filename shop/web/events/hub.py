"""Wakes the event streams of a process, which share one listening connection."""

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import Notify

from shop.web.events.listener import Listener
from shop.web.events.subscription import Subscription
from workshed.backoff import jittered_backoff_s
from workshed.contrib.notifications import channel, live
from workshed.db import PASSING_ERRORS

logger = logging.getLogger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0


class Hub:
    """Wakes the streams of a user when PostgreSQL notifies that there is something for them.

    These notifications are only hints, and are lost with the connection. So once it listens after
    each connect, and then every `sweep_s`, one query finds the users whose streams are behind. The
    connection is open as long as there is any stream.
    """

    def __init__(self, sweep_s: float) -> None:
        """Start without a connection; the first stream opens it."""
        self._sweep_s = sweep_s
        self._places: dict[str, set[Subscription]] = {}
        self._users: dict[str, str] = {}
        """User ids by channel."""
        self._changed: set[str] = set()
        self._stirred = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failures = 0

    @contextmanager
    def waking(self, place: Subscription) -> Iterator[None]:
        """Wake a stream, until the block ends, whenever its user may have new notifications."""
        user_id = place.user_id
        self._places.setdefault(user_id, set()).add(place)
        self._users[channel(user_id)] = user_id
        self._look_at(user_id)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="workshed streams")
        try:
            yield
        finally:
            self._places[user_id].discard(place)
            if not self._places[user_id]:
                del self._places[user_id]
                del self._users[channel(user_id)]
            self._look_at(user_id)

    async def close(self) -> None:
        """Close the connection."""
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def _look_at(self, user_id: str) -> None:
        self._changed.add(user_id)
        self._stirred.set()

    async def _run(self) -> None:
        while self._places:
            try:
                async with Listener(self._heard) as ear:
                    await self._listen(ear)
            except Exception as err:  # noqa: BLE001 -- all streams depend on this task, so it must go on
                self._say(err)
                await asyncio.sleep(
                    jittered_backoff_s(self._failures, FIRST_PAUSE_S, LONGEST_PAUSE_S)
                )
                self._failures += 1

    def _say(self, err: Exception) -> None:
        """Log the first of several failures in a row; with a traceback if it is unexpected."""
        if not self._failures:
            unknown = None if isinstance(err, (*PASSING_ERRORS, TimeoutError)) else err
            text = str(err).strip() or "no answer in time"
            logger.warning(
                "event streams get no notifications from PostgreSQL, trying again: %s",
                text,
                exc_info=unknown,
            )

    async def _listen(self, ear: Listener) -> None:
        loop = asyncio.get_running_loop()
        self._changed.update(self._places)
        due = loop.time()
        while self._places:
            await self._follow_changes(ear)
            if loop.time() >= due:
                await self._sweep(ear)
                due = loop.time() + self._sweep_s
            ear.take()
            await ear.idle(self._stirred, due)

    async def _follow_changes(self, ear: Listener) -> None:
        """Listen for users with new streams, and stop listening for those without any."""
        changed, self._changed = self._changed, set()
        await ear.change(
            listen=[user for user in changed if user in self._places],
            leave=[user for user in changed if user not in self._places],
        )
        for user_id in changed & ear.users:
            for place in self._places.get(user_id, ()):
                place.hear()

    async def _sweep(self, ear: Listener) -> None:
        """Wake streams that are behind; this also shows whether the connection works."""
        seen = {
            user_id: min(known)
            for user_id, places in self._places.items()
            if (known := [place.seen for place in places if place.seen is not None])
        }
        for user_id in await ear.ask(lambda conn: live.behind(conn, seen)):
            self._wake(user_id)
        if self._failures:
            logger.info("event streams get notifications again")
        self._failures = 0

    def _heard(self, note: Notify) -> None:
        number = int(note.payload) if note.payload.isdecimal() else None  # not from `tell`
        if user_id := self._users.get(note.channel):
            self._wake(user_id, number)

    def _wake(self, user_id: str, number: int | None = None) -> None:
        """Wake the streams of a user, except those that have sent this number already."""
        for place in self._places.get(user_id, ()):
            if number is None or place.seen is None or place.seen < number:
                place.wake()
