"""The connection on which a process listens."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Self, TypeVar

from psycopg import AsyncConnection, Notify, sql

from workshed.contrib.notifications import channel
from workshed.db import CONNECT_OPTIONS
from workshed.settings import settings

T = TypeVar("T")

ANSWER_S = 5.0
"""Longest wait for a statement, all of which are short; then the connection is given up."""


class Listener:
    """A connection in autocommit that listens to channels; used by one task."""

    def __init__(self, heard: Callable[[Notify], None]) -> None:
        """Prepare to call `heard` for each notification; entering the block connects."""
        self.users: set[str] = set()
        """Users whose channels are listened to."""
        self._on_notification = heard
        self._conn: AsyncConnection[Any]

    async def __aenter__(self) -> Self:
        """Connect; raises `psycopg.OperationalError`."""
        url = settings().database_url.get_secret_value()
        options = {**CONNECT_OPTIONS, "application_name": "workshed streams"}
        self._conn = await AsyncConnection.connect(url, autocommit=True, **options)
        self._conn.add_notify_handler(
            self._on_notification
        )  # for notifications that arrive during a statement
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connection."""
        await self._conn.close()

    async def update_channels(self, *, listen: Iterable[str], leave: Iterable[str]) -> None:
        """Start listening for some users and stop for others, in one round trip."""
        new, gone = {*listen} - self.users, {*leave} & self.users
        commands = [sql.SQL("LISTEN {}").format(sql.Identifier(channel(user))) for user in new]
        commands += [sql.SQL("UNLISTEN {}").format(sql.Identifier(channel(user))) for user in gone]
        if commands:
            await self.query(lambda conn: conn.execute(sql.SQL("; ").join(commands)))
        self.users = (self.users | new) - gone

    async def query(self, question: Callable[[AsyncConnection[Any]], Awaitable[T]]) -> T:
        """Run a query; raises `TimeoutError` if PostgreSQL does not answer."""
        async with asyncio.timeout(ANSWER_S):
            return await question(self._conn)

    def receive(self) -> None:
        """Handle arrived notifications; raises `psycopg.OperationalError` if disconnected.

        Call this after every statement, too: the socket does not become readable for notifications
        that libpq has read together with the end of an answer.
        """
        self._conn.pgconn.consume_input()
        while note := self._conn.pgconn.notifies():
            self._on_notification(Notify(note.relname.decode(), note.extra.decode(), note.be_pid))

    async def wait(self, stirred: asyncio.Event, until: float) -> None:
        """Wait until something arrives, the event is set, or a time is reached; clear the event."""
        loop, socket = asyncio.get_running_loop(), self._conn.fileno()
        loop.add_reader(socket, stirred.set)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await stirred.wait()
        finally:
            loop.remove_reader(socket)
        stirred.clear()
