"""An engine that opens no connection: its pool lends one whose transaction a session is to join.

Neither the pool nor the dialect ends that transaction.
"""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial
from typing import Any

import sqlalchemy
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from workshed import db
from workshed.errors import UnknownConnectionError
from workshed.interrupts import thread_gate

_lent: ContextVar[Any] = ContextVar("connection lent to SQLAlchemy")
_depth: ContextVar[int] = ContextVar("open sessions of this thread", default=0)

NUMBER = "workshed.number"
"""Key of a connection's `info`: how many sessions were open in its thread, including its own."""


def lend_connection(engine: sqlalchemy.Engine, conn: object) -> sqlalchemy.Connection:
    """Return a connection of SQLAlchemy on one of psycopg."""
    # The first connection reads settings of the server under a lock that others wait for.
    with thread_gate().defer(), db.limited_wait():
        token = _lent.set(conn)
        try:
            return engine.connect()
        finally:
            _lent.reset(token)


def session_options(bind: object) -> dict[str, Any]:
    """Return the options of a session that joins the transaction of a lent connection."""
    return {
        "bind": bind,
        "binds": None,  # an engine for some classes would commit by itself
        "twophase": False,
        "join_transaction_mode": "create_savepoint",
    }


@contextmanager
def require_connection(session: Session, lent: sqlalchemy.Connection) -> Generator[None]:
    """Refuse every other connection that a session uses in the block."""
    _depth.set(_depth.get() + 1)
    try:
        lent.info[NUMBER] = _depth.get()
        refused: list[UnknownConnectionError] = []
        sqlalchemy.event.listen(session, "after_begin", partial(_compare, lent, refused))
        yield
        if refused:  # the application went on after the error
            raise refused[0]
    finally:
        _depth.set(_depth.get() - 1)


def _compare(
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
def lending_engine() -> sqlalchemy.Engine:
    """Return the engine of all lent connections in this process."""
    return create_lending_engine("lent", LentDialect)


def create_lending_engine(name: str, dialect: type[LentDialect]) -> sqlalchemy.Engine:
    """Create an engine whose connections `lend_connection` gives it."""
    registry.register(f"postgresql.{name}", dialect.__module__, dialect.__name__)
    return sqlalchemy.create_engine(
        f"postgresql+{name}://",
        creator=_lent.get,
        poolclass=_LentConnections,
        pool_reset_on_return=None,
        use_native_hstore=False,  # would ask PostgreSQL for the type
    )
