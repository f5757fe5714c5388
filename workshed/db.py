"""Transactions on the connection pool of a process, which is opened after the fork."""

import atexit
import functools
import importlib
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from workshed.database.job_thread import (
    current_job_thread,
    move_to_job_thread,
    run_in_job_thread,
)
from workshed.database.postgres import IDLE
from workshed.database.urls import describe_address
from workshed.database.waits import (
    WaitDeadline,
    WaitLimit,
    answer_limit,
    borrower_limit,
    database_waits,
    limited_wait,
    remaining_wait,
)
from workshed.errors import DatabaseUnreachableError, OpenTransactionError
from workshed.interrupts import thread_gate
from workshed.settings import settings

if TYPE_CHECKING:
    import psycopg
    from psycopg import errors

    from workshed.database.pool import (
        TRANSIENT_ERRORS,
        CheckedPool,
        Connection,
        InterruptibleConnection,
        NoAnswerError,
    )

__all__ = [
    "CONNECT_OPTIONS",
    "POOL_WAIT_S",
    "SERVER_GRACE_S",
    "TRANSIENT_ERRORS",
    "Connection",
    "InterruptibleConnection",
    "NoAnswerError",
    "WaitDeadline",
    "add_close_hook",
    "autocommit_statement",
    "close_pool",
    "commit_is_unknown",
    "connect",
    "deadline",
    "describe_address",
    "describe_outage",
    "errors",
    "forget_pool",
    "get_pool",
    "has_pool",
    "is_in_transaction",
    "join_transaction",
    "joined_connection",
    "limited_wait",
    "move_to_joined_thread",
    "release_claims",
    "run_in_job_thread",
    "savepoint",
    "separate_transaction",
    "snapshot",
    "transaction",
    "transaction_begun_by",
]

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

LAZY_NAMES = ("TRANSIENT_ERRORS", "Connection", "InterruptibleConnection", "NoAnswerError")
"""Names of `workshed.database.pool`, which imports psycopg."""
ADMIN_SHUTDOWN, CRASH_SHUTDOWN = "57P01", "57P02"
"""Codes of PostgreSQL's errors after which a commit is in doubt."""
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
_parent_pools: "list[CheckedPool]" = []
_joined_transaction: "ContextVar[JoinedTransaction | None]" = ContextVar("joined", default=None)
_open_transactions: ContextVar[int] = ContextVar("open", default=0)
"""How many of the pool's transactions this thread is in."""

deadline: ContextVar[float | None] = ContextVar("until", default=None)
"""Deadline for what this thread runs, by `time.monotonic`; set by a time limit."""
SERVER_GRACE_S = 5.0
"""How long after the deadline PostgreSQL itself ends a statement. The limit strikes in this process
first, and writes after the block, in the same transaction, have this long."""


class _PoolOfProcess:
    """The pool of this process, if one was built, and the lock for building it."""

    def __init__(self) -> None:
        """Begin without a pool."""
        self.pool: CheckedPool | None = None
        self.lock = threading.Lock()


_process = _PoolOfProcess()


def get_pool() -> "CheckedPool":
    """Return the pool of this process; `transaction` opens it on first use."""
    found = _process.pool
    if found is None:
        module = _pool_module()
        with _process.lock:
            found = _process.pool
            if found is None:
                url, size = settings().database_url.get_secret_value(), settings().pool_size
                found = _process.pool = module.build_pool(url, CONNECT_OPTIONS, size, POOL_WAIT_S)
                # Otherwise the interpreter waits up to 5 s for each of its threads at exit.
                atexit.register(found.close)
    return found


def has_pool() -> bool:
    """Return whether this process has built its pool."""
    return _process.pool is not None


def forget_pool() -> None:
    """Let the next use build another pool; does not close this one."""
    _process.pool = None


def _pool_module() -> Any:
    return importlib.import_module("workshed.database.pool")


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
    forget_pool()  # a closed pool never opens again


@contextmanager
def transaction() -> "Generator[Connection]":
    """Run the block in one transaction: committed at its end, rolled back by any exception.

    Inside a joined transaction the block is a savepoint: an exception undoes only the block, and
    the joined transaction commits later. A time limit may strike in the block, but not in the steps
    around it. PostgreSQL ends a statement that exceeds the limit by 5 s, even if this process is
    gone. Raises `OpenTransactionError` in the coroutine of an actor with `once=True`, whose
    transaction belongs to another thread: see `run_in_job_thread`.
    """
    joined = _joined_transaction.get()
    if joined is None:
        with _borrow_connection() as conn:
            limit_statements(conn)
            yield conn
        return
    _require_its_thread()
    joined.is_used = True
    try:
        with savepoint(joined.conn):
            limit_statements(joined.conn)
            yield joined.conn
    except BaseException:
        joined.undone_blocks += 1
        raise


def _require_its_thread() -> None:
    thread = current_job_thread()
    if thread is not None and not thread.is_current:
        raise OpenTransactionError(
            "the transaction of an async actor with once=True belongs to the thread of the job, "
            "and this is another one, such as that of the event loop: write async with "
            "async_job_session(…) of workshed.contrib.sqlalchemy, or move the block with "
            "db.transaction() into a function and write await db.run_in_job_thread(function, …)"
        )


@contextmanager
def savepoint(conn: "Connection") -> Generator[None]:
    """Make an exception undo only the block, which otherwise commits with the transaction."""
    if conn.info.transaction_status == IDLE:
        conn.execute("SELECT")  # otherwise psycopg commits the block as a whole transaction
    with conn.transaction():
        yield


@contextmanager
def separate_transaction() -> "Generator[Connection]":
    """Run the block in a transaction of its own, even if this thread has joined one.

    It then takes a second connection from the pool, and commits even if the joined one rolls back.
    """
    with _borrow_connection() as conn:
        yield conn


@contextmanager
def transaction_begun_by(
    begin: "Callable[[InterruptibleConnection], None]",
) -> "Generator[Connection]":
    """Run the block in a transaction of its own that `begin` may begin, on a working connection.

    Where `begin` sends BEGIN, that is the check of the connection: if it was lost, `begin` is
    called again with another one. It waits for PostgreSQL as long as a check would. It is not
    called at all where a statement cannot go with BEGIN: with a pooler, or in a joined transaction.
    """
    if _joined_transaction.get() is not None:
        with transaction() as conn:
            yield conn
        return
    with _borrow_connection(begin=begin) as conn:
        limit_statements(conn)
        yield conn


@contextmanager
def snapshot() -> "Generator[Connection]":
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
        limit_statements(conn)
        yield conn


@contextmanager
def autocommit_statement() -> "Generator[Connection]":
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


def commit_is_unknown(error: "psycopg.Error") -> bool:
    """Return whether PostgreSQL may have committed the statement that failed."""
    if isinstance(error, _pool_module().NoConnectionError):
        return False
    return error.sqlstate in (None, ADMIN_SHUTDOWN, CRASH_SHUTDOWN)


def describe_outage(error: Exception) -> str:
    """Say why PostgreSQL could not be used, and which setting to look at."""
    if isinstance(error, _pool_module().FullPoolError):
        return f"{error}: set WORKSHED_POOL_SIZE to more"
    place = describe_address(settings().database_url.get_secret_value())
    return f"PostgreSQL does not answer at {place} (WORKSHED_DATABASE_URL): {str(error).strip()}"


@contextmanager
def _borrow_connection(
    *,
    autocommit: bool = False,
    begin: "Callable[[InterruptibleConnection], None] | None" = None,
) -> "Generator[InterruptibleConnection]":
    """Lend a connection of the pool; the block, or each statement of it, is a transaction."""
    connections = get_pool()
    caller, left_s = answer_limit.get(), remaining_wait()
    borrower_limit.set(caller)
    database_waits.add()
    with thread_gate().defer(), limited_wait():
        connections.open()  # does nothing when open
        conn = connections.getconn(None if left_s is None else min(left_s, POOL_WAIT_S), begin)
        outside = _open_transactions.get()
        try:
            if conn.autocommit != autocommit:
                conn.autocommit = autocommit
            _open_transactions.set(outside + 1)
            with conn, thread_gate().allow(), WaitLimit(caller):
                yield conn
        finally:
            _open_transactions.set(outside)
            conn.used_at = time.monotonic()
            connections.putconn(conn)


def limit_statements(conn: "Connection") -> None:
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


class JoinedTransaction:
    """A transaction that the `transaction`s of a thread are part of."""

    def __init__(self, conn: "Connection") -> None:
        """Take the connection that it is open on."""
        self.conn = conn
        self.is_used = False
        """Whether there was one."""
        self.undone_blocks = 0
        """How many of them were rolled back, and with each the settings of its transaction."""
        self.after_commit: list[Callable[[], object]] = []
        """Functions to call once the transaction has committed."""

    def run_after_commit(self) -> None:
        """Call these functions; an error is logged, because it can undo nothing."""
        for function in self.after_commit:
            try:
                function()
            except Exception:
                logger.exception("%r failed after the commit", function)


Lender = Callable[[JoinedTransaction], AbstractContextManager[None]]
"""Lets an ORM write in a transaction, inside the block."""

_lenders: dict[str, Lender] = {}


def add_lender(orm: str, lender: Lender) -> None:
    """Let an ORM write in the transaction of each job with `once=True`; one lender for each."""
    _lenders[orm] = lender


@contextmanager
def lend_transaction(joined: JoinedTransaction) -> Generator[None]:
    """Let all ORMs that have a lender write in a transaction."""
    with ExitStack() as stack:
        for lender in _lenders.values():
            stack.enter_context(lender(joined))
        yield


@contextmanager
def join_transaction(conn: "Connection") -> Generator[JoinedTransaction]:
    """Make every `transaction` of this thread inside the block part of `conn`'s."""
    joined = JoinedTransaction(conn)
    token = _joined_transaction.set(joined)
    try:
        yield joined
    finally:
        _joined_transaction.reset(token)


def is_in_transaction() -> bool:
    """Return whether this thread is in a transaction, its own or a joined one."""
    return _joined_transaction.get() is not None or _open_transactions.get() > 0


def joined_connection() -> "Connection | None":
    """Return the connection whose transaction this thread has joined, if any."""
    joined = _joined_transaction.get()
    return None if joined is None else joined.conn


def move_to_joined_thread(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function that writes in a joined transaction do so in the thread of its job.

    That differs from the calling thread in an async actor with `once=True`, which sends jobs.
    """

    @functools.wraps(function)
    def moved(*args: P.args, **kwargs: P.kwargs) -> R:
        if _joined_transaction.get() is None:
            return function(*args, **kwargs)
        return move_to_job_thread(function, *args, **kwargs)

    return moved


def connect() -> "InterruptibleConnection":
    """Open a connection outside the pool, in autocommit, for use beyond one transaction.

    Raises `DatabaseUnreachableError` or `PoolerModeError`, which name the server and what to do.
    """
    url = settings().database_url.get_secret_value()
    try:
        conn: InterruptibleConnection = _pool_module().InterruptibleConnection.connect(
            url, autocommit=True, **CONNECT_OPTIONS
        )
        conn.detect_pooler()
    except _pool_module().psycopg.OperationalError as err:
        raise DatabaseUnreachableError(
            f"PostgreSQL does not answer at {describe_address(url)} (WORKSHED_DATABASE_URL): "
            f"{str(err).strip().rstrip('.?')}. Start it, correct the URL, or run `workshed dev`"
        ) from None
    return conn


def _drop_pool() -> None:
    """Drop the pool without closing it: after a fork its sockets still belong to the parent."""
    _process.lock = threading.Lock()  # another thread of the parent may have held it
    if _process.pool is not None:
        atexit.unregister(_process.pool.close)
        _parent_pools.append(_process.pool)
        forget_pool()


os.register_at_fork(after_in_child=_drop_pool)


def __getattr__(name: str) -> Any:
    """Import psycopg with the first name that needs it.

    Replacing one of these names here, in a test, does not change what `connect` and the pool use.
    """
    if name == "errors":
        return importlib.import_module("psycopg.errors")
    if name in LAZY_NAMES:
        return getattr(_pool_module(), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
