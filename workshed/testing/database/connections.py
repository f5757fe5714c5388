"""A connection pool without threads."""

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow

from workshed.db import OPTIONS, InterruptibleConnection, is_open
from workshed.testing.database.failpoints import Failpoints, name_of

NOWHERE: AbstractContextManager[None] = nullcontext()
"""Where nobody counts the places."""


class FailpointConnection(InterruptibleConnection):
    """A connection whose statements and commits are places at which a process can end."""

    points: Failpoints | None = None
    """Those that they are."""

    def commit(self) -> None:
        """Commit, with a place before and after it where there is anything to commit."""
        is_idle = self.pgconn.transaction_status == TransactionStatus.IDLE
        with NOWHERE if is_idle else self.passing("COMMIT"):
            super().commit()

    @contextmanager
    def transaction(
        self,
        savepoint_name: str | None = None,
        force_rollback: bool = False,  # noqa: FBT001, FBT002 -- as psycopg has it
    ) -> Generator[psycopg.Transaction]:
        """Do as psycopg does; what is no savepoint ends with a commit."""
        is_commit = self.pgconn.transaction_status == TransactionStatus.IDLE
        with super().transaction(savepoint_name, force_rollback) as block:
            yield block
            self.reach("before COMMIT", wanted=is_commit)
        self.reach("after COMMIT", wanted=is_commit)

    def passing(self, what: str) -> AbstractContextManager[None]:
        """Let there be a place before and one after the block, where they are counted."""
        return NOWHERE if self.points is None else self.points.passing(what)

    def reach(self, place: str, *, wanted: bool) -> None:
        """Note a place, where they are counted."""
        if wanted and self.points is not None:
            self.points.reach(place)


class PooledConnection(FailpointConnection):
    """One that the end of a `with` block does not close."""

    has_committed = False
    """Since it was lent."""

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


class PassingCursor(psycopg.Cursor[TupleRow]):
    """A cursor whose statements are places at which a process can end."""

    def execute(self, query: Any, *args: Any, **kwargs: Any) -> Self:
        """Run a statement."""
        with self._passing(query):
            return super().execute(query, *args, **kwargs)

    def executemany(self, query: Any, *args: Any, **kwargs: Any) -> None:
        """Run a statement for each of many parameters; it counts as one."""
        with self._passing(query):
            super().executemany(query, *args, **kwargs)

    def stream(self, query: Any, *args: Any, **kwargs: Any) -> Iterator[TupleRow]:
        """Run a statement, and read its rows one by one."""
        with self._passing(query):
            yield from super().stream(query, *args, **kwargs)

    @contextmanager
    def copy(self, statement: Any, *args: Any, **kwargs: Any) -> Generator[psycopg.Copy]:
        """Copy rows from or to a table."""
        with self._passing(statement), super().copy(statement, *args, **kwargs) as rows:
            yield rows

    def _passing(self, query: Any) -> AbstractContextManager[None]:
        return failpoints_around(self.connection, query)


class PassingServerCursor(psycopg.ServerCursor[TupleRow]):
    """The same of one that is declared in PostgreSQL."""

    def execute(self, query: Any, *args: Any, **kwargs: Any) -> Self:
        """Declare it."""
        with failpoints_around(self.connection, query):
            return super().execute(query, *args, **kwargs)


def failpoints_around(conn: psycopg.Connection[Any], query: Any) -> AbstractContextManager[None]:
    """Let there be a place before and one after a statement, where they are counted."""
    if not isinstance(conn, FailpointConnection) or conn.points is None:
        return NOWHERE
    statement = query.decode() if isinstance(query, bytes) else query
    text = statement.as_string(conn) if hasattr(statement, "as_string") else str(statement)
    name = name_of(text)
    return NOWHERE if name is None else conn.passing(name)


class Connections:
    """Stands in for `db.get_pool()`: opens a connection where one is wanted, and keeps it."""

    max_size = 100

    def __init__(self, url: str) -> None:
        """Open nothing."""
        self._url = url
        self._idle: list[PooledConnection] = []
        self._lent: list[PooledConnection] = []
        self.points: Failpoints | None = None
        """The places at which the process that borrows them can be made to end."""
        self.committed: Callable[[], None] | None = None
        """Called when a transaction has committed, and this thread is in no other."""

    def open(self) -> None:
        """Do as a pool does; nothing is needed."""

    def getconn(self) -> PooledConnection:
        """Lend a connection."""
        conn = next(self._living(), None) or self._connected()
        conn.points, conn.has_committed = self.points, False
        self._lent.append(conn)
        return conn

    def putconn(self, conn: PooledConnection) -> None:
        """Take one back."""
        self._lent.remove(conn)
        if not conn.closed:
            if conn.pgconn.transaction_status != TransactionStatus.IDLE:
                conn.rollback()
            self._idle.append(conn)
        if conn.has_committed and self.committed is not None and not is_open():
            self.committed()

    def lose(self) -> list[int]:
        """Close all, as the end of a process does; return PostgreSQL's processes, which end soon.

        What is lent stays so: its holder finds it closed.
        """
        lost = [conn for conn in (*self._lent, *self._idle) if not conn.closed]
        pids = [conn.info.backend_pid for conn in lost]
        for conn in lost:
            conn.close()
        return pids

    def reset(self) -> None:
        """Be as before the first test."""
        self.points = self.committed = None
        self.reclaim()

    def reclaim(self) -> None:
        """Close what a test has not given back, so that its locks hold up nobody."""
        while self._lent:
            self._lent.pop().close()

    def close(self) -> None:
        """Close all."""
        self.reclaim()
        while self._idle:
            self._idle.pop().close()

    def _connected(self) -> PooledConnection:
        conn = PooledConnection.connect(self._url, cursor_factory=PassingCursor, **OPTIONS)
        conn.server_cursor_factory = PassingServerCursor
        return conn

    def _living(self) -> Iterator[PooledConnection]:
        while self._idle:
            conn = self._idle.pop()
            if not conn.closed:
                yield conn
