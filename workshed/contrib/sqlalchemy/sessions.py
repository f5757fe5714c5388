"""Sessions on the connections of `workshed.db`.

Their engine opens no connection: its pool lends the one whose transaction the session is to join,
and neither the pool nor the dialect ends that transaction.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, TypeVar

import sqlalchemy
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from workshed import db

AnySession = TypeVar("AnySession", bound=Session)

_lent: ContextVar[db.Connection] = ContextVar("connection lent to SQLAlchemy")


@contextmanager
def job_session(make: Callable[..., AnySession] = Session) -> Generator[AnySession]:  # type: ignore[assignment]
    """Run the block with a session in the transaction of the job.

    `with job_session(SessionLocal) as session:` is to a session what `with db.transaction() as
    conn:` is to a connection. In an actor with `once=True`, what the session writes commits with
    the once key, the outcome and the sent jobs of the run, or not at all. Elsewhere the block is a
    transaction of its own, which commits at its end and is rolled back by any exception. A time
    limit may strike in a query of the block.

    `make` is your `sessionmaker`, or a class of sessions; its options apply, except `bind`, because
    the session uses a connection of Workshed's pool, with psycopg 3 to `WORKSHED_DATABASE_URL`.
    `session.commit()` ends a savepoint and not the transaction; `session.rollback()` undoes what
    came after the last one.
    """
    with db.transaction() as conn, session_on(conn, make) as session:
        yield session


@contextmanager
def session_on(
    conn: db.Connection,
    make: Callable[..., AnySession] = Session,  # type: ignore[assignment]
) -> Generator[AnySession]:
    """Run the block with a session in the open transaction of a connection; else as `job_session`.

    `with progress.transaction() as conn, session_on(conn, SessionLocal) as session:` writes with
    the session what the cursor of a step stands for. Flushes at the end of the block; the
    transaction remains the caller's to commit. `conn` is a connection of psycopg 3.
    """
    token = _lent.set(conn)
    try:
        connection = _engine().connect()
    finally:
        _lent.reset(token)
    joining: dict[str, Any] = {"bind": connection, "join_transaction_mode": "create_savepoint"}
    with connection, connection.begin(), make(**joining) as session:
        yield session
        session.commit()


class _LentConnections(NullPool):
    """Passes on connections of another pool, and leaves them open."""

    def _do_return_conn(self, record: Any) -> None:
        """Do nothing: the caller of `session_on` returns the connection to its pool."""


class LentDialect(PGDialect_psycopg):
    """Changes nothing of a connection, and ends no transaction, as both are not its own."""

    supports_statement_cache = True

    def on_connect(self) -> None:
        """Add no handlers, which would stay on the connection."""

    def do_commit(self, dbapi_connection: object) -> None:
        """Leave it to the caller of `session_on`."""

    def do_rollback(self, dbapi_connection: object) -> None:
        """Likewise: a session undoes its savepoint, and an exception the transaction."""


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
