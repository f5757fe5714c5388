"""A connection pool without threads."""

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import TracebackType
from typing import Any, Self, cast

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow

from workshed.db import CONNECT_OPTIONS, InterruptibleConnection, is_in_transaction
from workshed.testing.database.failpoints import Failpoints, name_statement

NO_FAILPOINTS: AbstractContextManager[None] = nullcontext()
"""Used while failpoints are not counted."""


class FailpointConnection(InterruptibleConnection):
    """A connection whose statements and commits are failpoints, at which a process can crash."""

    failpoints: Failpoints | None = None
    """The failpoints to count, if any."""
    can_begin_with = False
    """Each statement is a failpoint of its own."""

    def commit(self) -> None:
        """Commit, with a failpoint before and after it if there is anything to commit."""
        is_idle = self.pgconn.transaction_status == TransactionStatus.IDLE
        with NO_FAILPOINTS if is_idle else self.surround("COMMIT"):
            super().commit()

    @contextmanager
    def transaction(
        self,
        savepoint_name: str | None = None,
        force_rollback: bool = False,  # noqa: FBT001, FBT002 -- as psycopg has it
    ) -> Generator[psycopg.Transaction]:
        """Do as psycopg does; a block that is not a savepoint ends with a commit."""
        is_commit = self.pgconn.transaction_status == TransactionStatus.IDLE
        with super().transaction(savepoint_name, force_rollback) as block:
            yield block
            self.reach("before COMMIT", enabled=is_commit)
        self.reach("after COMMIT", enabled=is_commit)

    def surround(self, what: str) -> AbstractContextManager[None]:
        """Return a context with a failpoint before and after its block, if they are counted."""
        return NO_FAILPOINTS if self.failpoints is None else self.failpoints.surround(what)

    def reach(self, place: str, *, enabled: bool) -> None:
        """Record a failpoint, if they are counted."""
        if enabled and self.failpoints is not None:
            self.failpoints.reach(place)


class PooledConnection(FailpointConnection):
    """A connection that is not closed at the end of a `with` block."""

    has_committed = False
    """Whether it has committed since it was lent."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Commit, or roll back after an error."""
        if self.closed:
            return
        if kind is None:
            self.commit()
            self.has_committed = True
        else:
            self.rollback()


class FailpointCursor(psycopg.Cursor[TupleRow]):
    """A cursor whose statements are failpoints."""

    def execute(self, query: Any, *args: Any, **kwargs: Any) -> Self:
        """Run a statement."""
        with self._surround(query):
            return super().execute(query, *args, **kwargs)

    def executemany(self, query: Any, *args: Any, **kwargs: Any) -> None:
        """Run a statement for each of many parameters; it counts as one."""
        with self._surround(query):
            super().executemany(query, *args, **kwargs)

    def stream(self, query: Any, *args: Any, **kwargs: Any) -> Iterator[TupleRow]:
        """Run a statement, and read its rows one by one."""
        with self._surround(query):
            yield from super().stream(query, *args, **kwargs)

    @contextmanager
    def copy(self, statement: Any, *args: Any, **kwargs: Any) -> Generator[psycopg.Copy]:
        """Copy rows from or to a table."""
        with self._surround(statement), super().copy(statement, *args, **kwargs) as rows:
            yield rows

    def _surround(self, query: Any) -> AbstractContextManager[None]:
        return failpoints_around(self.connection, query)


class FailpointServerCursor(psycopg.ServerCursor[TupleRow]):
    """A server-side cursor whose declaration is a failpoint."""

    def execute(self, query: Any, *args: Any, **kwargs: Any) -> Self:
        """Declare it."""
        with failpoints_around(self.connection, query):
            return super().execute(query, *args, **kwargs)


def failpoints_around(conn: psycopg.Connection[Any], query: Any) -> AbstractContextManager[None]:
    """Return a context with a failpoint before and after a statement, if they are counted."""
    if not isinstance(conn, FailpointConnection) or conn.failpoints is None:
        return NO_FAILPOINTS
    statement = query.decode() if isinstance(query, bytes) else query
    text = statement.as_string(conn) if hasattr(statement, "as_string") else str(statement)
    name = name_statement(text)
    return NO_FAILPOINTS if name is None else conn.surround(name)


class Connections:
    """Replaces `db.get_pool()`: opens connections on demand, and keeps them."""

    max_size = 100

    def __init__(self, url: str) -> None:
        self._url = url
        self._idle: list[PooledConnection] = []
        self._lent: list[PooledConnection] = []
        self.failpoints: Failpoints | None = None
        """The failpoints of the process that borrows the connections."""
        self.on_commit: Callable[[], None] | None = None
        """Called when a transaction has committed, unless this thread is still in another."""
        self.find_test_transaction: Callable[[], Any] = lambda: None
        """Returns the connection to lend while a test is in a transaction of its own."""

    def open(self) -> None:
        """Do nothing; a pool has this method."""

    def getconn(self, _timeout: float | None = None, _begin: object = None) -> PooledConnection:
        """Lend a connection, without waiting for one."""
        if (shared := self.find_test_transaction()) is not None:
            return cast("PooledConnection", shared)
        conn = next(self._usable(), None) or self._connect()
        conn.failpoints, conn.has_committed = self.failpoints, False
        self._lent.append(conn)
        return conn

    def putconn(self, conn: PooledConnection) -> None:
        """Take a connection back."""
        if conn in self._lent:
            self._lent.remove(conn)
            self._keep(conn)
        if conn.has_committed and self.on_commit is not None and not is_in_transaction():
            self.on_commit()

    def _keep(self, conn: PooledConnection) -> None:
        if not conn.closed:
            if conn.pgconn.transaction_status != TransactionStatus.IDLE:
                conn.rollback()
            self._idle.append(conn)

    def disconnect(self) -> list[int]:
        """Close all connections, as the end of a process does; return their backend PIDs.

        The backends end soon. The holder of a lent connection finds it closed.
        """
        lost = [conn for conn in (*self._lent, *self._idle) if not conn.closed]
        pids = [conn.info.backend_pid for conn in lost]
        for conn in lost:
            conn.close()
        return pids

    def reset(self) -> None:
        """Restore the initial state for the next test."""
        self.failpoints = self.on_commit = None
        self.find_test_transaction = lambda: None
        self.reclaim()

    def reclaim(self) -> None:
        """Close connections that a test has not returned, so that their locks block nothing."""
        while self._lent:
            self._lent.pop().close()

    def close(self) -> None:
        """Close all connections."""
        self.reclaim()
        while self._idle:
            self._idle.pop().close()

    def _connect(self) -> PooledConnection:
        conn = PooledConnection.connect(
            self._url, cursor_factory=FailpointCursor, **CONNECT_OPTIONS
        )
        conn.server_cursor_factory = FailpointServerCursor
        return conn

    def _usable(self) -> Iterator[PooledConnection]:
        while self._idle:
            conn = self._idle.pop()
            if not conn.closed:
                yield conn
