"""Connections whose waits end, and the pool of a process; imports psycopg."""

import math
import select
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import psycopg
from psycopg import generators
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool, PoolTimeout

from workshed.database.postgres import FirstStatement
from workshed.database.urls import describe_address
from workshed.database.waits import borrower_limit, remaining_wait
from workshed.errors import PoolerModeError
from workshed.interrupts import thread_gate

Connection = psycopg.Connection[TupleRow]
NoConnectionError = PoolTimeout
"""None was free in time, or none could be opened: nothing was executed."""

PIPELINE_SYNC = ExecStatus.PIPELINE_SYNC
CANCEL_S = 5.0
UNCHECKED_S = 1.0
"""A connection used within this time is lent without a check if nothing arrived on it since,
because a closed connection is readable. A check is a round trip before each transaction. Only
borrowers with a limited wait go without: reading cannot show that the network went silent."""
STATEMENT_MODE = "statement pooling mode"
"""Part of PgBouncer's error for BEGIN in statement pooling mode."""
TRANSIENT_ERRORS = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,
    psycopg.errors.IdleInTransactionSessionTimeout,
)
"""Transient errors, which a retry may cure: connection, shutdown, failover, deadlock, disk full."""


class InterruptibleConnection(Connection):
    """A connection whose waits end at a limit or at an interrupt.

    libpq waits forever if something on the way acknowledges bytes but forwards none. C code does
    not see interrupts of `TimeLimit` either, so a time limit would wait for the query.
    """

    used_at = -math.inf
    """When it was returned to the pool, by `time.monotonic`."""
    is_pooled = False
    """Whether there is a pooler, which may give each transaction another session of the server."""
    has_refused_write = False
    """Whether a write was refused in a read-only transaction since the last check."""
    prepared_names: frozenset[bytes] = frozenset()
    """The first statements that its session has prepared."""

    @property
    def can_begin_with(self) -> bool:
        """Whether `begin_with` can be used; a pooler keeps no prepared statements."""
        return not self.is_pooled

    def detect_pooler(self) -> None:
        """Detect a pooler and then keep no state in the session; takes one round trip.

        Through a pooler, the process ID from connecting differs from the one that a query returns.
        Raises `PoolerModeError` for a pooler in statement pooling mode.
        """
        try:
            self.autocommit = True  # otherwise the query would leave a transaction open
            row = self.execute("SELECT pg_backend_pid()").fetchone()
        except BaseException:
            self.close()
            raise
        self.is_pooled = row is not None and row[0] != self.info.backend_pid
        if self.is_pooled:
            self.prepare_threshold = None
            self._refuse_statement_mode()

    def _refuse_statement_mode(self) -> None:
        """Raise `PoolerModeError` for a pooler in statement pooling mode."""
        try:
            self.execute("BEGIN")
            self.execute("ROLLBACK")
        except psycopg.Error as err:
            self.close()
            if STATEMENT_MODE in str(err):
                raise PoolerModeError(describe_address(self.info.dsn)) from None
            raise

    def begin_with(self, first: FirstStatement, values: Sequence[str]) -> str | None:
        """Begin a transaction with a statement, in one round trip; return its value as text.

        Returns `None`, with no transaction open, if the statement has met a lock for longer than
        the `lock_timeout` that it sets.
        """
        if self.autocommit:
            self.autocommit = False
        if any("\0" in value for value in values):
            raise psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")
        encoded = [value.encode(self.info.encoding) for value in values]
        was_prepared = first.name in self.prepared_names
        try:
            with self.lock:
                value: str | None = self.wait(self._begin_with(first, encoded))
        except psycopg.errors.LockNotAvailable:
            self.rollback()
            return None
        except psycopg.errors.InvalidSqlStatementName:
            if not was_prepared:
                raise
            # Something else in this session has executed `DEALLOCATE ALL`.
            self.rollback()
            self.prepared_names -= {first.name}
            return self.begin_with(first, values)
        return value

    def _begin_with(
        self, first: FirstStatement, values: Sequence[bytes]
    ) -> Generator[Any, Any, str | None]:
        """Use libpq's pipeline mode; that of psycopg takes more CPU than a round trip does."""
        pgconn, encoding = self.pgconn, self.info.encoding
        has_to_prepare = first.name not in self.prepared_names
        pgconn.enter_pipeline_mode()
        pgconn.send_query_params(b"BEGIN", None)
        if has_to_prepare:
            pgconn.send_prepare(first.name, first.query.encode())
        pgconn.send_query_prepared(first.name, values)
        pgconn.pipeline_sync()
        yield from generators.send(pgconn)
        results = []
        while (result := (yield from generators.fetch_many(pgconn))[0]).status != PIPELINE_SYNC:
            results.append(result)
        pgconn.exit_pipeline_mode()
        if has_to_prepare and results[1].status == ExecStatus.COMMAND_OK:
            self.prepared_names |= {first.name}
        for result in results:
            if result.status == ExecStatus.FATAL_ERROR:
                raise psycopg.errors.error_from_result(result, encoding=encoding)
        value = results[-1].get_value(0, 0)
        return None if value is None else value.decode(encoding)

    def _deallocate(self, name: bytes | None) -> Generator[Any, Any, None]:
        """Forget the first statements, too: psycopg drops all statements after a rollback."""
        if name is None:
            self.prepared_names = frozenset()
        return super()._deallocate(name)

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """Wait for an answer, for as long as `remaining_wait` allows, or until an interrupt."""
        try:
            return super().wait(_forward_waits(gen, remaining_wait()), interval, timeout)
        except NoAnswerError:
            self.pgconn.finish()  # a late answer would be taken for that of the next statement
            raise
        except psycopg.errors.ReadOnlySqlTransaction:
            self.has_refused_write = True
            raise
        except Exception:
            raise
        except BaseException:
            self._cancel_and_close()
            raise

    def _cancel_and_close(self) -> None:
        """Cancel the statement of an interrupted thread on the server; nothing reads its result."""
        with thread_gate().defer():
            try:
                if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                    self.cancel_safe(timeout=CANCEL_S)
            finally:
                self.pgconn.finish()


class NoAnswerError(psycopg.OperationalError):
    """The server did not answer in time."""


def _forward_waits(gen: Any, limit_s: float | None) -> Generator[Any, Any, Any]:
    """Forward what psycopg waits for; at each step CPython can raise a pending interrupt."""
    until = math.inf if limit_s is None else time.monotonic() + limit_s
    ready = None
    while True:
        try:
            wanted = gen.send(ready)
        except StopIteration as end:
            return end.value
        if time.monotonic() > until:
            raise NoAnswerError(f"no answer within {limit_s:.3g} s")
        ready = yield wanted


class FullPoolError(NoConnectionError):
    """All connections of the pool were lent for as long as a borrower waited."""


class CheckedPool(ConnectionPool[InterruptibleConnection]):
    """Lends only connections that work, and replaces those that were lost."""

    def __init__(self, *args: Any, **options: Any) -> None:
        """Take what the pool of psycopg takes."""
        self._lent: set[InterruptibleConnection] = set()
        super().__init__(*args, **options)

    def getconn(
        self,
        timeout: float | None = None,
        begin: Callable[[InterruptibleConnection], None] | None = None,
    ) -> InterruptibleConnection:
        """Lend a connection; the next one at once where one was lost.

        The pool's own check pauses for 1 s after the second lost connection, and for twice as long
        after each further one. After a restart of PostgreSQL, all idle connections are lost.

        `begin` begins the borrower's transaction, instead of a check: on a lost connection it
        fails, and is called again with the next one, because nothing can have been committed.

        Raises `FullPoolError` if others have all connections, and `NoConnectionError` if none can
        be opened.
        """
        wait_s = self.timeout if timeout is None else timeout
        until = time.monotonic() + wait_s
        while True:
            conn = self._get_any(until, wait_s)
            is_checked = False
            try:
                if begin is None or conn.has_refused_write or not conn.can_begin_with:
                    _check_connection(conn)
                is_checked = True
                if begin is not None and conn.can_begin_with:
                    begin(conn)
            except BaseException as err:
                is_lost = isinstance(err, psycopg.Error) and (conn.closed or not is_checked)
                conn.close()
                self.putconn(conn)
                if not is_lost:
                    raise
            else:
                return conn

    def _get_any(self, until: float, wait_s: float) -> InterruptibleConnection:
        try:
            conn = super().getconn(max(until - time.monotonic(), 0.0))
        except NoConnectionError as err:
            if len(self._lent) < self.max_size:
                raise
            raise FullPoolError(
                f"all {self.max_size} connections of this process were in use for {wait_s:.3g} s"
            ) from err
        self._lent.add(conn)
        return conn

    def putconn(self, conn: InterruptibleConnection) -> None:
        """Take a connection back."""
        self._lent.discard(conn)
        super().putconn(conn)


def build_pool(url: str, options: Mapping[str, Any], size: int, wait_s: float) -> CheckedPool:
    """Return a pool that opens no connection yet; a borrower waits up to `wait_s` for one."""
    return CheckedPool(
        url,
        connection_class=InterruptibleConnection,
        kwargs=dict(options),
        min_size=0,
        max_size=size,
        timeout=wait_s,
        reconnect_timeout=wait_s,  # otherwise its pauses grow to minutes after an outage
        configure=InterruptibleConnection.detect_pooler,
        open=False,
        name="workshed",
    )


def _check_connection(conn: InterruptibleConnection) -> None:
    """Raise `psycopg.Error` if a connection of the pool is lost, or its server became read-only."""
    if conn.has_refused_write:
        _require_writable(conn)
        return
    poll = select.poll()
    poll.register(conn.fileno(), select.POLLIN)
    is_sure = borrower_limit.get() is not None and time.monotonic() - conn.used_at < UNCHECKED_S
    if not is_sure or poll.poll(0):
        ConnectionPool.check_connection(conn)


def _require_writable(conn: InterruptibleConnection) -> None:
    """Raise `psycopg.errors.ReadOnlySqlTransaction` if new transactions cannot write.

    An old primary may stay up after a failover. A new connection leads to the new primary.
    """
    with conn.transaction():
        row = conn.execute("SHOW transaction_read_only").fetchone()
    if row == ("on",):
        raise psycopg.errors.ReadOnlySqlTransaction("the server is read-only")
    conn.has_refused_write = False
