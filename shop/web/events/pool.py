"""A small pool of connections for reads, shared by all requests."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from psycopg import AsyncConnection, OperationalError
from psycopg_pool import AsyncConnectionPool

from workshed.db import CONNECT_OPTIONS, POOL_WAIT_S
from workshed.settings import settings

POOL_SIZE = 4
"""Connections per process: each read takes about a millisecond."""
ANSWER_S = 5.0
"""Longest wait for a read, all of which are short; then the connection is given up."""


class ReadPool:
    """A pool of connections in autocommit, opened on first use."""

    def __init__(self) -> None:
        self._pool: AsyncConnectionPool[AsyncConnection[Any]] | None = None

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[AsyncConnection[Any]]:
        """Lend a connection for a short read.

        Raises `psycopg.OperationalError` if PostgreSQL is away, or does not answer in time.
        """
        if self._pool is None:
            self._pool = _create_pool()
        await self._pool.open()  # does nothing when open
        try:
            async with asyncio.timeout(ANSWER_S), self._pool.connection() as conn:
                yield conn
        except TimeoutError:
            raise OperationalError(f"no answer within {ANSWER_S:g} s") from None

    async def close(self) -> None:
        """Close all connections."""
        if self._pool is not None:
            await self._pool.close()


def _create_pool() -> AsyncConnectionPool[AsyncConnection[Any]]:
    return AsyncConnectionPool(
        settings().database_url.get_secret_value(),
        kwargs={**CONNECT_OPTIONS, "autocommit": True},
        min_size=0,
        max_size=POOL_SIZE,
        timeout=POOL_WAIT_S,
        reconnect_timeout=POOL_WAIT_S,  # otherwise its backoff grows to minutes after an outage
        check=AsyncConnectionPool.check_connection,
        open=False,
        name="workshed web",
    )
