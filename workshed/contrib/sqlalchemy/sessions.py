"""Sessions on the connections of `workshed.db`.

Their engine opens no connection: its pool lends the one whose transaction the session is to join,
and neither the pool nor the dialect ends that transaction.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial
from typing import Any, TypeVar

import sqlalchemy
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.orm import Session, scoped_session
from sqlalchemy.pool import NullPool

from workshed import db
from workshed.errors import OpenTransactionError, UnknownConnectionError
from workshed.interrupts import thread_gate

AnySession = TypeVar("AnySession", bound=Session)

_lent: ContextVar[db.Connection] = ContextVar("connection lent to SQLAlchemy")
_depth: ContextVar[int] = ContextVar("open sessions of this thread", default=0)

NUMBER = "workshed.number"
"""Key of a connection's `info`: how many sessions were open in its thread, including its own."""


@contextmanager
def job_session(make: Callable[..., AnySession] = Session) -> Generator[AnySession]:  # type: ignore[assignment]
    """Run the block with a session in the transaction of the job.

    `with job_session(SessionLocal) as session:` is to a session what `with db.transaction() as
    conn:` is to a connection. In an actor with `once=True`, what the session writes commits with
    the once key, the outcome and the sent jobs of the run, or not at all. Elsewhere the block is a
    transaction of its own, which commits at its end and is rolled back by any exception. A time
    limit may strike in the block.

    `make` is your `sessionmaker`, or a class of sessions. Its options apply, except `bind`, `binds`
    and `twophase`, because the session uses a connection of Workshed's pool, with psycopg 3 to
    `WORKSHED_DATABASE_URL`. `session.commit()` ends a savepoint and not the transaction;
    `session.rollback()` undoes what came after the last commit.

    Raises `OpenTransactionError` in any other open transaction, such as that of a step, which
    `session_on` joins, and `UnknownConnectionError` if the session would use another connection.
    """
    if db.is_in_transaction() and db.joined_connection() is None:
        raise OpenTransactionError(
            "job_session() is a transaction of its own here, and one is open: pass its session on, "
            "or write session_on(conn, …) with its connection"
        )
    with db.transaction() as conn, session_on(conn, make) as session:
        yield session


@contextmanager
def session_on(
    conn: db.Connection,
    make: Callable[..., AnySession] = Session,  # type: ignore[assignment]
) -> Generator[AnySession]:
    """Run the block with a session in the open transaction of a connection of psycopg 3.

    `with progress.transaction() as conn, session_on(conn, SessionLocal) as session:` writes with
    the session what the cursor of a step stands for. The session commits at the end of the block,
    and the transaction remains the caller's to commit. For the rest, see `job_session`.
    """
    if isinstance(make, scoped_session):
        raise TypeError("pass the `session_factory` of a scoped_session, which keeps its sessions")
    options: dict[str, Any] = {
        "bind": _lend(conn),
        "binds": None,  # an engine for some classes would commit by itself
        "twophase": False,
        "join_transaction_mode": "create_savepoint",
    }
    depth = _depth.set(_depth.get() + 1)
    try:
        with options["bind"] as connection, connection.begin(), make(**options) as session:
            connection.info[NUMBER] = _depth.get()
            refused: list[UnknownConnectionError] = []
            require = partial(_require_connection, connection, refused)
            sqlalchemy.event.listen(session, "after_begin", require)
            yield session
            if refused:  # the application went on after the error
                raise refused[0]
            if session.in_transaction():
                session.commit()
    finally:
        _depth.reset(depth)


def _lend(conn: db.Connection) -> sqlalchemy.Connection:
    # The first connection reads settings of the server under a lock that others wait for.
    with thread_gate().defer(), db.limited_wait():
        token = _lent.set(conn)
        try:
            return _engine().connect()
        finally:
            _lent.reset(token)


def _require_connection(
    lent: sqlalchemy.Connection,
    refused: list[UnknownConnectionError],
    _session: Session,
    _begun: object,
    used: sqlalchemy.Connection,
) -> None:
    """Refuse what a `get_bind` of the application chooses, where it would commit by itself."""
    if used is not lent:
        refused.append(
            UnknownConnectionError(
                f"this session writes on {used.engine!r} by its own get_bind(), and not in the "
                "transaction of the job: pass a sessionmaker without it"
            )
        )
        raise refused[-1]


class _LentConnections(NullPool):
    """Passes on connections of another pool, and does not close them when they are returned."""

    def _do_return_conn(self, record: Any) -> None:
        """Do nothing: the caller of `session_on` returns the connection to its pool."""

    def _invalidate(self, connection: Any, exception: Any = None, _checkin: bool = True) -> None:  # noqa: FBT001, FBT002 -- SQLAlchemy's signature
        """Give up a lost connection, and not those that other threads have been lent."""
        if _checkin and getattr(connection, "is_valid", False):
            connection.invalidate(exception)


class LentDialect(PGDialect_psycopg):
    """Changes nothing on a connection and ends no transaction, because neither is its own."""

    supports_statement_cache = True

    def on_connect(self) -> None:
        """Add no handlers, which would stay on the connection."""

    def do_commit(self, dbapi_connection: object) -> None:
        """Leave it to the caller of `session_on`."""

    def do_rollback(self, dbapi_connection: object) -> None:
        """Likewise: a session undoes its savepoint, and an exception the transaction."""

    def do_savepoint(self, connection: sqlalchemy.Connection, name: str) -> None:
        """Begin a savepoint."""
        super().do_savepoint(connection, _own_name(connection, name))  # type: ignore[no-untyped-call]

    def do_rollback_to_savepoint(self, connection: sqlalchemy.Connection, name: str) -> None:
        """Undo what came after it, unless the connection was lost or closed by a time limit.

        An error would then replace the one that ended the block.
        """
        driver: Any = connection.connection.dbapi_connection
        if driver.closed:
            return
        super().do_rollback_to_savepoint(connection, _own_name(connection, name))  # type: ignore[no-untyped-call]

    def do_release_savepoint(self, connection: sqlalchemy.Connection, name: str) -> None:
        """End it."""
        super().do_release_savepoint(connection, _own_name(connection, name))  # type: ignore[no-untyped-call]


def _own_name(connection: sqlalchemy.Connection, name: str) -> str:
    """Return a name that no other session in the same transaction uses."""
    number = connection.info.get(NUMBER, 1)
    return name if number == 1 else f"{name}_{number}"


@cache
def _engine() -> sqlalchemy.Engine:
    registry.register("postgresql.lent", __name__, LentDialect.__name__)
    return sqlalchemy.create_engine(
        "postgresql+lent://",
        creator=_lent.get,
        poolclass=_LentConnections,
        pool_reset_on_return=None,
        use_native_hstore=False,  # would ask PostgreSQL for the type
    )
