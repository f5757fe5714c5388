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
"""How long a statement that is known to be short waits for its answer."""
CANCEL_S = 5.0

_limit: ContextVar[float | None] = ContextVar("limit", default=None)


STATEMENT_MODE = "statement pooling mode"
"""What PgBouncer says of a transaction where it knows none."""


class InterruptibleConnection(Connection):
    """A connection that is not waited for in vain.

    libpq waits for ever where something between acknowledges bytes and passes none on. And C code
    sees no interrupt of `TimeLimit`, so a time limit would wait for the query.
    """

    used_at = -math.inf
    """When it was given back to the pool, by `time.monotonic`."""
    is_pooled = False
    """A pooler stands between, which may give each transaction another session of the server."""

    def look_for_pooler(self) -> None:
        """Keep what belongs to a session from one that others are given next; one round trip.

        A pooler says another process id at the start than the server does when it is asked.
        """
        try:
            self.autocommit = True  # or the question would leave a transaction open
            row = self.execute("SELECT pg_backend_pid()").fetchone()
        except BaseException:
            self.close()
            raise
        self.is_pooled = row is not None and row[0] != self.info.backend_pid
        if self.is_pooled:
            self.prepare_threshold = None
            self._refuse_statement_mode()

    def _refuse_statement_mode(self) -> None:
        """Raise `PoolerModeError` for a pooler that lends out sessions by the statement."""
        try:
            self.execute("BEGIN")
            self.execute("ROLLBACK")
        except psycopg.Error as err:
            self.close()
            if STATEMENT_MODE in str(err):
                raise PoolerModeError(describe_address(self.info.dsn)) from None
            raise

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """Wait for an answer: at most as `limited_wait` says, and until an interrupt."""
        try:
            return super().wait(_watched(gen, _limit.get()), interval, timeout)
        except _NoAnswerError:
            self.pgconn.finish()  # what comes now would be taken for another answer
            raise
        except Exception:
            raise
        except BaseException:
            self._give_up()
            raise

    def _give_up(self) -> None:
        """Let the server end the statement of an interrupted thread, which nobody reads now."""
        with thread_gate().shut():
            try:
                if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                    self.cancel_safe(timeout=CANCEL_S)
            finally:
                self.pgconn.finish()


class _NoAnswerError(psycopg.OperationalError):
    """The server has not answered in time."""


def _watched(gen: Any, limit_s: float | None) -> Generator[Any, Any, Any]:
    """Pass on what psycopg waits for; each time it looks, CPython raises what is pending."""
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


class _Limited:
    """A block in which statements of this thread are waited for no longer than so many seconds.

    Not a generator: each job of a worker enters one.
    """

    __slots__ = ("_token", "_within_s")

    def __init__(self, within_s: float | None) -> None:
        self._within_s = within_s

    def __enter__(self) -> None:
        self._token = _limit.set(self._within_s)

    def __exit__(self, *_: object) -> None:
        _limit.reset(self._token)


def limited_wait() -> AbstractContextManager[None]:
    """Let no statement of this thread wait for longer than `ANSWER_S` inside the block.

    Raises `psycopg.OperationalError` then, and the connection is closed.
    """
    return _Limited(ANSWER_S)


PASSING_ERRORS = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,
    psycopg.errors.IdleInTransactionSessionTimeout,
)
"""Errors a repetition may cure: connection, shutdown, failover, deadlock, disk full."""

POOL_WAIT_S = 5
OPTIONS: dict[str, Any] = {
    "application_name": "workshed",
    "connect_timeout": 5,  # seconds
    # A server that is gone without a word is noticed 10 s after something was sent, and not 15
    # minutes; on a silent connection after 15 s, since the first of these holds for probes, too.
    "tcp_user_timeout": 10_000,  # milliseconds
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,  # where there is no such limit, as on macOS: after 25 s
}
SURE_S = 1.0
"""A connection that was used so lately, and on which nothing came since, is there without asking:
what ends it can be read from it. Asking is a round trip before each transaction. Only for those
who wait for a limited time: that something between has gone silent is seen by no look at it."""
_of_the_parent: list[ConnectionPool[InterruptibleConnection]] = []
_patience: ContextVar[float | None] = ContextVar("patience", default=None)
"""How long the borrower of a connection waits for an answer on it; `None`: for ever."""
_joined: ContextVar[Connection | None] = ContextVar("joined", default=None)
_open: ContextVar[int] = ContextVar("open", default=0)
"""How many transactions of the pool this thread is in."""

until: ContextVar[float | None] = ContextVar("until", default=None)
"""When what this thread runs is to have ended, by `time.monotonic`; set by a time limit."""
LATE_S = 5.0
"""How much later PostgreSQL ends a statement by itself: the limit strikes here first, and what is
written after the block, in the same transaction, has this long."""


@cache
def get_pool() -> ConnectionPool[InterruptibleConnection]:
    """Return the pool of this process; `transaction` opens it on first use."""
    found = ConnectionPool(
        settings().database_url.get_secret_value(),
        connection_class=InterruptibleConnection,
        kwargs=OPTIONS,
        min_size=0,
        max_size=settings().pool_size,
        timeout=POOL_WAIT_S,
        reconnect_timeout=POOL_WAIT_S,  # or its own pauses grow to minutes after an outage
        check=_check,
        configure=InterruptibleConnection.look_for_pooler,
        open=False,
        name="workshed",
    )
    # Left to the interpreter's end, its threads are waited for, 5 s each.
    atexit.register(found.close)
    return found


logger = logging.getLogger(__name__)

_before_closing: list[Callable[[], None]] = []


def before_closing(step: Callable[[], None]) -> None:
    """Call a function before a worker that ends closes its pool, or leaves without doing so."""
    _before_closing.append(step)


def give_back() -> None:
    """Give back what this process has claimed: it ends now, and threads of it may still run."""
    for step in _before_closing:
        try:
            step()
        except Exception:
            logger.exception("%s failed; its claims end by themselves", step.__qualname__)


def close_pool() -> None:
    """Close the pool of this process for good; no job runs any more."""
    give_back()
    get_pool().close()
    get_pool.cache_clear()  # a closed pool never opens again


@contextmanager
def transaction() -> Generator[Connection]:
    """Run the block in one transaction: committed at its end, rolled back by any exception.

    Where one was joined the block is a part of it: an exception undoes the block, and the
    whole commits later. A time limit may strike in the block, and in none of the steps around it.
    PostgreSQL ends a statement that outlives it by 5 s, also when this process is gone.
    """
    outer = _joined.get()
    if outer is None:
        with _borrowed() as conn:
            _limit_statements(conn)
            yield conn
        return
    with savepoint(outer):
        _limit_statements(outer)
        yield outer


@contextmanager
def savepoint(conn: Connection) -> Generator[None]:
    """Let an exception undo no more than the block; what it wrote commits with all the rest."""
    if conn.info.transaction_status == TransactionStatus.IDLE:
        conn.execute("SELECT")  # or psycopg takes the block for the whole, and commits it
    with conn.transaction():
        yield


@contextmanager
def separate_transaction() -> Generator[Connection]:
    """Run the block in a transaction of its own, also inside one that this thread has joined.

    It takes a second connection of the pool there, and commits whatever becomes of the other.
    """
    with _borrowed() as conn:
        yield conn


@contextmanager
def snapshot() -> Generator[Connection]:
    """Let the block read the database as it is at one moment, whatever others commit meanwhile.

    It writes nothing. Raises `RuntimeError` in the transaction of an actor with `once=True`.
    """
    if _joined.get() is not None:
        raise RuntimeError(
            "db.snapshot() is a transaction of its own, so it cannot be a part of that of an actor "
            "with once=True; leave out once=True, and let what it writes be written twice without "
            "harm"
        )
    with _borrowed() as conn:
        # Of this transaction alone: nothing is left to be taken back before the next one.
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        _limit_statements(conn)
        yield conn


@contextmanager
def autocommit_statement() -> Generator[Connection]:
    """Run the one statement of the block as `transaction` does: a round trip, instead of three.

    It commits before the block ends. An error that PostgreSQL has not said leaves open whether it
    has; `commit_is_unknown` tells.
    """
    if _joined.get() is not None or until.get() is not None:
        with transaction() as conn:
            yield conn
        return
    with _borrowed(autocommit=True) as conn:
        yield conn


def commit_is_unknown(error: psycopg.Error) -> bool:
    """Tell whether PostgreSQL may have committed the statement that failed."""
    ended = (psycopg.errors.AdminShutdown, psycopg.errors.CrashShutdown)
    return error.sqlstate is None or isinstance(error, ended)


@contextmanager
def _borrowed(*, autocommit: bool = False) -> Generator[InterruptibleConnection]:
    """Lend a connection of the pool; the block is a transaction, or each of its statements is."""
    connections = get_pool()
    caller = _limit.get()
    _patience.set(caller)
    with thread_gate().shut(), limited_wait():
        connections.open()  # does nothing when open
        conn = connections.getconn()
        outside = _open.get()
        try:
            conn.autocommit = autocommit
            _open.set(outside + 1)
            with conn, thread_gate().opened(), _Limited(caller):
                yield conn
        finally:
            _open.set(outside)
            conn.used_at = time.monotonic()
            connections.putconn(conn)


def _check(conn: InterruptibleConnection) -> None:
    """Raise `psycopg.OperationalError` where a connection of the pool is gone."""
    poll = select.poll()
    poll.register(conn.fileno(), select.POLLIN)
    is_sure = _patience.get() is not None and time.monotonic() - conn.used_at < SURE_S
    if not is_sure or poll.poll(0):
        ConnectionPool.check_connection(conn)


def _limit_statements(conn: Connection) -> None:
    """Let PostgreSQL know of this thread's time limit, until the transaction ends.

    A shorter `statement_timeout` of the server, role or URL stays. Costs a round trip, of jobs
    only: sent together with BEGIN, in a pipeline, it took twice as long.
    """
    at = until.get()
    if at is None:
        return
    query = """
        SELECT set_config('statement_timeout', %(span)s::text, true)
         WHERE current_setting('statement_timeout')::interval
               NOT BETWEEN interval '1 ms' AND %(span)s::interval
    """
    left_s = max(at - time.monotonic(), 0.0) + LATE_S
    conn.execute(query, {"span": f"{math.ceil(left_s * 1000)}ms"})


@contextmanager
def join_transaction(conn: Connection) -> Generator[None]:
    """Let every `transaction` of this thread inside the block be a part of `conn`'s."""
    token = _joined.set(conn)
    try:
        yield
    finally:
        _joined.reset(token)


def is_open() -> bool:
    """Tell whether this thread is in a transaction, of its own or one that it has joined."""
    return _joined.get() is not None or _open.get() > 0


def joined_connection() -> Connection | None:
    """Return the connection whose transaction this thread has joined, if any."""
    return _joined.get()


def connect() -> InterruptibleConnection:
    """Open a connection of its own, in autocommit, for those that outlive a transaction.

    Raises `DatabaseUnreachableError` or `PoolerModeError`, which name the server and what to do.
    """
    url = settings().database_url.get_secret_value()
    try:
        conn = InterruptibleConnection.connect(url, autocommit=True, **OPTIONS)
        conn.look_for_pooler()
    except psycopg.OperationalError as err:
        raise DatabaseUnreachableError(
            f"PostgreSQL does not answer at {describe_address(url)} (WORKSHED_DATABASE_URL): "
            f"{str(err).strip().rstrip('.?')}. Start it, correct the URL, or run `workshed dev`"
        ) from None
    return conn


def describe_address(url: str) -> str:
    """Say where a database is, without its password."""
    part = conninfo_to_dict(url)
    return f"{part.get('host', 'local socket')}:{part.get('port', 5432)}/{part.get('dbname', '')}"


def _forget_the_pool() -> None:
    """Drop, never close: after a fork the sockets still belong to the parent."""
    if get_pool.cache_info().currsize:
        atexit.unregister(get_pool().close)
        _of_the_parent.append(get_pool())
        get_pool.cache_clear()


os.register_at_fork(after_in_child=_forget_the_pool)
