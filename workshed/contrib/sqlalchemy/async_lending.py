"""Lends a connection to a session of an event loop; its queries run in the thread of the job.

SQLAlchemy calls its driver in a greenlet, which waits for the thread by `await_only`.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, ParamSpec, TypeVar

import psycopg
import sqlalchemy
from sqlalchemy.engine import AdaptedConnection
from sqlalchemy.util import await_only

from workshed import db
from workshed.contrib.sqlalchemy.lending import (
    LentDialect,
    create_lending_engine,
    lend_connection,
)
from workshed.database.job_thread import ThreadBlock
from workshed.errors import OpenTransactionError

P = ParamSpec("P")
R = TypeVar("R")

CANCEL_S = 5.0
"""How long to wait until PostgreSQL has accepted the cancellation of a query."""


@contextmanager
def lend_async_connection(
    conn: db.Connection, block: ThreadBlock
) -> Generator[sqlalchemy.Connection]:
    """Lend a connection, with a transaction begun, in the block of a thread."""
    adapted = ThreadConnection(conn, block)
    with lend_connection(async_lending_engine(), adapted) as lent, lent.begin():
        yield lent


class ThreadConnection(AdaptedConnection):
    """A connection of psycopg whose statements are executed in the thread that it belongs to."""

    def __init__(self, conn: db.Connection, block: ThreadBlock) -> None:
        self._connection: Any = conn
        self._block = block

    def __getattr__(self, name: str) -> Any:
        """Return what needs no answer of the server."""
        return getattr(self._connection, name)

    def cursor(self, *args: Any, **kwargs: Any) -> "ThreadCursor":
        """Open a cursor; one with a name is one of the server."""
        return ThreadCursor(self, self._connection.cursor(*args, **kwargs))

    def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function of the driver in the thread."""
        if self._block.thread.is_current:
            return function(*args, **kwargs)
        call = self._block.call_until_cancelled(self._cancel, function, *args, **kwargs)
        return await_only(call)

    def _cancel(self) -> None:
        try:
            self._connection.cancel_safe(timeout=CANCEL_S)
        except psycopg.Error:
            # The query goes on until its end or a limit. The request may arrive after that, and
            # must not end what comes next on this connection.
            with suppress(OpenTransactionError):
                self._block.thread.submit(self._connection.close)


class ThreadCursor:
    """A cursor of such a connection."""

    def __init__(self, conn: ThreadConnection, cursor: Any) -> None:
        self._conn = conn
        self._cursor = cursor
        self._is_on_server = isinstance(cursor, psycopg.ServerCursor)

    def __getattr__(self, name: str) -> Any:
        """Return what needs no answer of the server."""
        return getattr(self._cursor, name)

    def execute(self, *args: Any) -> Any:
        """Execute a statement."""
        return self._conn.run(self._cursor.execute, *args)

    def executemany(self, *args: Any) -> Any:
        """Execute a statement for each of many values."""
        return self._conn.run(self._cursor.executemany, *args)

    def fetchone(self) -> Any:
        """Return the next row."""
        return self._fetch(self._cursor.fetchone)

    def fetchmany(self, *args: Any) -> Any:
        """Return the next rows."""
        return self._fetch(self._cursor.fetchmany, *args)

    def fetchall(self) -> Any:
        """Return all other rows."""
        return self._fetch(self._cursor.fetchall)

    def close(self) -> None:
        """Close the cursor."""
        self._fetch(self._cursor.close)

    async def _async_soft_close(self) -> None:
        """Do nothing: all rows of a result are here."""

    def _fetch(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        if self._is_on_server:
            return self._conn.run(function, *args, **kwargs)
        return function(*args, **kwargs)


class AsyncLentDialect(LentDialect):
    """The same for an event loop."""

    supports_statement_cache = True

    def get_driver_connection(self, connection: Any) -> Any:
        """Return the connection of psycopg."""
        return connection._connection  # noqa: SLF001 -- of `ThreadConnection`

    def do_terminate(self, dbapi_connection: object) -> None:
        """Keep it after a cancelled query: the block undoes what came before."""


@cache
def async_lending_engine() -> sqlalchemy.Engine:
    """Return the engine of all connections that are lent to event loops in this process."""
    engine = create_lending_engine("lent_async", AsyncLentDialect)
    # Only now, so that the first connection, which is lent in a thread, waits for an ordinary lock.
    engine.dialect.is_async = True
    return engine
