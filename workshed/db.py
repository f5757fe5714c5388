"""The connection pool of a process, opened after the fork."""

import atexit
import logging
import math
import os
import select
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool

from workshed.errors import DatabaseUnreachableError, PoolerModeError
from workshed.interrupts import thread_gate
from workshed.settings import settings

Connection = psycopg.Connection[TupleRow]

ANSWER_S = 30.0
"""How long to wait for the answer to a statement that is known to be short."""
CANCEL_S = 5.0

_answer_limit: ContextVar[float | None] = ContextVar("limit", default=None)


STATEMENT_MODE = "statement pooling mode"
"""Part of PgBouncer's error for BEGIN in statement pooling mode."""


class InterruptibleConnection(Connection):
    """A connection whose waits end at a limit or at an interrupt.

    libpq waits forever if something on the way acknowledges bytes but forwards none. C code does
    not see interrupts of `TimeLimit` either, so a time limit would wait for the query.
    """

    used_at = -math.inf
    """When it was returned to the pool, by `time.monotonic`."""
    is_pooled = False
    """Whether there is a pooler, which may give each transaction another session of the server."""

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

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """Wait for an answer, for as long as `limited_wait` allows, or until an interrupt."""
        try:
            return super().wait(_forward_waits(gen, _answer_limit.get()), interval, timeout)
        except _NoAnswerError:
            self.pgconn.finish()  # a late answer would be taken for that of the next statement
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


class _NoAnswerError(psycopg.OperationalError):
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
            raise _NoAnswerError(f"no answer within {limit_s:g} s")
        ready = yield wanted


class _WaitLimit:
    """A block in which this thread waits at most `within_s` seconds for each statement.

    A class, because a generator costs more and each job of a worker enters one.
    """

    __slots__ = ("_token", "_within_s")

    def __init__(self, within_s: float | None) -> None:
        self._within_s = within_s

    def __enter__(self) -> None:
        self._token = _answer_limit.set(self._within_s)

    def __exit__(self, *_: object) -> None:
        _answer_limit.reset(self._token)


def limited_wait() -> AbstractContextManager[None]:
    """Limit the wait for each statement of this thread to `ANSWER_S` inside the block.

    After that, raises `psycopg.OperationalError` and closes the connection.
    """
    return _WaitLimit(ANSWER_S)


TRANSIENT_ERRORS = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,
    psycopg.errors.IdleInTransactionSessionTimeout,
)
"""Transient errors, which a retry may cure: connection, shutdown, failover, deadlock, disk full."""

POOL_WAIT_S = 5
CONNECT_OPTIONS: dict[str, Any] = {
    "application_name": "workshed",
    "connect_timeout": 5,  # seconds
    # A server that vanishes silently is noticed 10 s after data was sent to it, not 15 minutes. On
    # an idle connection it takes 15 s, because `tcp_user_timeout` limits keepalive probes, too.
    "tcp_user_timeout": 10_000,  # milliseconds
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,  # on systems without `tcp_user_timeout`, such as macOS: 25 s
}
UNCHECKED_S = 1.0
"""A connection used within this time is lent without a check if nothing arrived on it since,
because a closed connection is readable. A check is a round trip before each transaction. Only
borrowers with a limited wait go without: reading cannot show that the network went silent."""
_parent_pools: list[ConnectionPool[InterruptibleConnection]] = []
_borrower_limit: ContextVar[float | None] = ContextVar("patience", default=None)
"""How long the borrower of a connection waits for an answer on it; `None`: forever."""
_joined_transaction: ContextVar[Connection | None] = ContextVar("joined", default=None)
_open_transactions: ContextVar[int] = ContextVar("open", default=0)
"""How many of the pool's transactions this thread is in."""

deadline: ContextVar[float | None] = ContextVar("until", default=None)
"""Deadline for what this thread runs, by `time.monotonic`; set by a time limit."""
SERVER_GRACE_S = 5.0
"""How long after the deadline PostgreSQL itself ends a statement. The limit strikes in this process
first, and writes after the block, in the same transaction, have this long."""


@cache
def get_pool() -> ConnectionPool[InterruptibleConnection]:
    """Return the pool of this process; `transaction` opens it on first use."""
    found = ConnectionPool(
        settings().database_url.get_secret_value(),
        connection_class=InterruptibleConnection,
        kwargs=CONNECT_OPTIONS,
        min_size=0,
        max_size=settings().pool_size,
        timeout=POOL_WAIT_S,
        reconnect_timeout=POOL_WAIT_S,  # otherwise its pauses grow to minutes after an outage
        check=_check_connection,
        configure=InterruptibleConnection.detect_pooler,
        open=False,
        name="workshed",
    )
    # Otherwise the interpreter waits up to 5 s for each of its threads at exit.
    atexit.register(found.close)
    return found


logger = logging.getLogger(__name__)

_close_hooks: list[Callable[[], None]] = []


def add_close_hook(step: Callable[[], None]) -> None:
    """Register a function to call before an ending worker closes its pool, or exits without."""
    _close_hooks.append(step)


def release_claims() -> None:
    """Release this process's claims as it ends; some of its threads may still be running."""
    for step in _close_hooks:
        try:
            step()
        except Exception:
            logger.exception("%s failed; its claims will expire by themselves", step.__qualname__)


def close_pool() -> None:
    """Close the pool of this process for good, once no job is running."""
    release_claims()
    get_pool().close()
    get_pool.cache_clear()  # a closed pool never opens again


@contextmanager
def transaction() -> Generator[Connection]:
    """Run the block in one transaction: committed at its end, rolled back by any exception.

    Inside a joined transaction the block is a savepoint: an exception undoes only the block, and
    the joined transaction commits later. A time limit may strike in the block, but not in the steps
    around it. PostgreSQL ends a statement that exceeds the limit by 5 s, even if this process is
    gone.
    """
    outer = _joined_transaction.get()
    if outer is None:
        with _borrow_connection() as conn:
            _limit_statements(conn)
            yield conn
        return
    with savepoint(outer):
        _limit_statements(outer)
        yield outer


@contextmanager
def savepoint(conn: Connection) -> Generator[None]:
    """Make an exception undo only the block, which otherwise commits with the transaction."""
    if conn.info.transaction_status == TransactionStatus.IDLE:
        conn.execute("SELECT")  # otherwise psycopg commits the block as a whole transaction
    with conn.transaction():
        yield


@contextmanager
def separate_transaction() -> Generator[Connection]:
    """Run the block in a transaction of its own, even if this thread has joined one.

    It then takes a second connection from the pool, and commits even if the joined one rolls back.
    """
    with _borrow_connection() as conn:
        yield conn


@contextmanager
def snapshot() -> Generator[Connection]:
    """Read the database in the block as it is at one moment, despite concurrent commits.

    The block cannot write. Raises `RuntimeError` in the transaction of an actor with `once=True`.
    """
    if _joined_transaction.get() is not None:
        raise RuntimeError(
            "db.snapshot() is a transaction of its own, so it cannot be part of the transaction of "
            "an actor with once=True; leave out once=True, and make the actor's writes idempotent"
        )
    with _borrow_connection() as conn:
        # For this transaction only, so that nothing has to be reset before the next one.
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        _limit_statements(conn)
        yield conn


@contextmanager
def autocommit_statement() -> Generator[Connection]:
    """Run the block's single statement as `transaction` does, in one round trip instead of three.

    It commits before the block ends. After an error that did not come from PostgreSQL, it may or
    may not have committed: see `commit_is_unknown`.
    """
    if _joined_transaction.get() is not None or deadline.get() is not None:
        with transaction() as conn:
            yield conn
        return
    with _borrow_connection(autocommit=True) as conn:
        yield conn


def commit_is_unknown(error: psycopg.Error) -> bool:
    """Return whether PostgreSQL may have committed the statement that failed."""
    ended = (psycopg.errors.AdminShutdown, psycopg.errors.CrashShutdown)
    return error.sqlstate is None or isinstance(error, ended)


@contextmanager
def _borrow_connection(*, autocommit: bool = False) -> Generator[InterruptibleConnection]:
    """Lend a connection of the pool; the block, or each statement of it, is a transaction."""
    connections = get_pool()
    caller = _answer_limit.get()
    _borrower_limit.set(caller)
    with thread_gate().defer(), limited_wait():
        connections.open()  # does nothing when open
        conn = connections.getconn()
        outside = _open_transactions.get()
        try:
            conn.autocommit = autocommit
            _open_transactions.set(outside + 1)
            with conn, thread_gate().allow(), _WaitLimit(caller):
                yield conn
        finally:
            _open_transactions.set(outside)
            conn.used_at = time.monotonic()
            connections.putconn(conn)


def _check_connection(conn: InterruptibleConnection) -> None:
    """Raise `psycopg.OperationalError` if a connection of the pool is lost."""
    poll = select.poll()
    poll.register(conn.fileno(), select.POLLIN)
    is_sure = _borrower_limit.get() is not None and time.monotonic() - conn.used_at < UNCHECKED_S
    if not is_sure or poll.poll(0):
        ConnectionPool.check_connection(conn)


def _limit_statements(conn: Connection) -> None:
    """Set `statement_timeout` from this thread's time limit, until the transaction ends.

    A shorter `statement_timeout` of the server, role or URL stays. This costs a round trip, but
    only in jobs; sending it with BEGIN in a pipeline took twice as long.
    """
    at = deadline.get()
    if at is None:
        return
    query = """
        SELECT set_config('statement_timeout', %(span)s::text, true)
         WHERE current_setting('statement_timeout')::interval
               NOT BETWEEN interval '1 ms' AND %(span)s::interval
    """
    left_s = max(at - time.monotonic(), 0.0) + SERVER_GRACE_S
    conn.execute(query, {"span": f"{math.ceil(left_s * 1000)}ms"})


@contextmanager
def join_transaction(conn: Connection) -> Generator[None]:
    """Make every `transaction` of this thread inside the block part of `conn`'s."""
    token = _joined_transaction.set(conn)
    try:
        yield
    finally:
        _joined_transaction.reset(token)


def is_in_transaction() -> bool:
    """Return whether this thread is in a transaction, its own or a joined one."""
    return _joined_transaction.get() is not None or _open_transactions.get() > 0


def joined_connection() -> Connection | None:
    """Return the connection whose transaction this thread has joined, if any."""
    return _joined_transaction.get()


def connect() -> InterruptibleConnection:
    """Open a connection outside the pool, in autocommit, for use beyond one transaction.

    Raises `DatabaseUnreachableError` or `PoolerModeError`, which name the server and what to do.
    """
    url = settings().database_url.get_secret_value()
    try:
        conn = InterruptibleConnection.connect(url, autocommit=True, **CONNECT_OPTIONS)
        conn.detect_pooler()
    except psycopg.OperationalError as err:
        raise DatabaseUnreachableError(
            f"PostgreSQL does not answer at {describe_address(url)} (WORKSHED_DATABASE_URL): "
            f"{str(err).strip().rstrip('.?')}. Start it, correct the URL, or run `workshed dev`"
        ) from None
    return conn


def describe_address(url: str) -> str:
    """Return host, port and name of a database, without its password."""
    part = conninfo_to_dict(url)
    return f"{part.get('host', 'local socket')}:{part.get('port', 5432)}/{part.get('dbname', '')}"


def _drop_pool() -> None:
    """Drop the pool without closing it: after a fork its sockets still belong to the parent."""
    if get_pool.cache_info().currsize:
        atexit.unregister(get_pool().close)
        _parent_pools.append(get_pool())
        get_pool.cache_clear()


os.register_at_fork(after_in_child=_drop_pool)
