"""A connection pool without threads."""

from collections.abc import Iterator
from types import TracebackType

from psycopg.pq import TransactionStatus

from workshed.db import OPTIONS, WatchedConnection


class Kept(WatchedConnection):
    """A connection that the end of a `with` block does not close."""

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
        else:
            self.rollback()


class Connections:
    """Stands in for `db.pool()`: opens a connection where one is wanted, and keeps it."""

    max_size = 100

    def __init__(self, url: str) -> None:
        """Open nothing."""
        self._url = url
        self._idle: list[Kept] = []
        self._lent: list[Kept] = []

    def open(self) -> None:
        """Do as a pool does; nothing is needed."""

    def getconn(self) -> Kept:
        """Lend a connection."""
        conn = next(self._living(), None) or Kept.connect(self._url, **OPTIONS)
        self._lent.append(conn)
        return conn

    def putconn(self, conn: Kept) -> None:
        """Take one back."""
        self._lent.remove(conn)
        if not conn.closed:
            if conn.pgconn.transaction_status != TransactionStatus.IDLE:
                conn.rollback()
            self._idle.append(conn)

    def reclaim(self) -> None:
        """Close what a test has not given back, so that its locks hold up nobody."""
        while self._lent:
            self._lent.pop().close()

    def close(self) -> None:
        """Close all."""
        self.reclaim()
        while self._idle:
            self._idle.pop().close()

    def _living(self) -> Iterator[Kept]:
        while self._idle:
            conn = self._idle.pop()
            if not conn.closed:
                yield conn
