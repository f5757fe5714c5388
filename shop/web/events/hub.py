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
from workshed.contrib.notifications import async_reads, channel
from workshed.db import TRANSIENT_ERRORS

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
        self._subscriptions: dict[str, set[Subscription]] = {}
        self._users: dict[str, str] = {}
        """User ids by channel."""
        self._changed_users: set[str] = set()
        self._wake_event = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failures = 0

    @contextmanager
    def subscribe(self, place: Subscription) -> Iterator[None]:
        """Wake a stream, until the block ends, whenever its user may have new notifications."""
        user_id = place.user_id
        self._subscriptions.setdefault(user_id, set()).add(place)
        self._users[channel(user_id)] = user_id
        self._mark_changed(user_id)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="workshed streams")
        try:
            yield
        finally:
            self._subscriptions[user_id].discard(place)
            if not self._subscriptions[user_id]:
                del self._subscriptions[user_id]
                del self._users[channel(user_id)]
            self._mark_changed(user_id)

    async def close(self) -> None:
        """Close the connection."""
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def _mark_changed(self, user_id: str) -> None:
        self._changed_users.add(user_id)
        self._wake_event.set()

    async def _run(self) -> None:
        while self._subscriptions:
            try:
                async with Listener(self._on_notification) as ear:
                    await self._listen(ear)
            except Exception as err:  # noqa: BLE001 -- all streams depend on this task, so it must go on
                self._log_failure(err)
                await asyncio.sleep(
                    jittered_backoff_s(self._failures, FIRST_PAUSE_S, LONGEST_PAUSE_S)
                )
                self._failures += 1

    def _log_failure(self, err: Exception) -> None:
        """Log the first of several failures in a row; with a traceback if it is unexpected."""
        if not self._failures:
            unknown = None if isinstance(err, (*TRANSIENT_ERRORS, TimeoutError)) else err
            text = str(err).strip() or "no answer in time"
            logger.warning(
                "event streams get no notifications from PostgreSQL, trying again: %s",
                text,
                exc_info=unknown,
            )

    async def _listen(self, ear: Listener) -> None:
        loop = asyncio.get_running_loop()
        self._changed_users.update(self._subscriptions)
        due = loop.time()
        while self._subscriptions:
            await self._update_channels(ear)
            if loop.time() >= due:
                await self._wake_behind(ear)
                due = loop.time() + self._sweep_s
            ear.receive()
            await ear.wait(self._wake_event, due)

    async def _update_channels(self, ear: Listener) -> None:
        """Listen for users with new streams, and stop listening for those without any."""
        changed, self._changed_users = self._changed_users, set()
        await ear.update_channels(
            listen=[user for user in changed if user in self._subscriptions],
            leave=[user for user in changed if user not in self._subscriptions],
        )
        for user_id in changed & ear.users:
            for place in self._subscriptions.get(user_id, ()):
                place.start_listening()

    async def _wake_behind(self, ear: Listener) -> None:
        """Wake streams that are behind; this also shows whether the connection works."""
        seen = {
            user_id: min(known)
            for user_id, places in self._subscriptions.items()
            if (known := [place.last_sent for place in places if place.last_sent is not None])
        }
        for user_id in await ear.query(lambda conn: async_reads.users_with_unread(conn, seen)):
            self._wake(user_id)
        if self._failures:
            logger.info("event streams get notifications again")
        self._failures = 0

    def _on_notification(self, note: Notify) -> None:
        number = int(note.payload) if note.payload.isdecimal() else None  # not from `tell`
        if user_id := self._users.get(note.channel):
            self._wake(user_id, number)

    def _wake(self, user_id: str, number: int | None = None) -> None:
        """Wake the streams of a user, except those that have sent this number already."""
        for place in self._subscriptions.get(user_id, ()):
            if number is None or place.last_sent is None or place.last_sent < number:
                place.wake()
