"""The types of connections that Workshed writes on, and how each executes a statement.

This is for functions that take part in a transaction of the application.
"""

from collections.abc import Awaitable, Callable, Generator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, overload

from workshed.database.postgres import IDLE, Statement, tuple_row
from workshed.errors import OpenTransactionError, UnknownConnectionError

Result = TypeVar("Result")

Steps = Generator[Statement, str | None, Result]
"""Statements to execute in turn. Each yields the text of its single value; `None` for NULL, or
without a row."""


NAMED = "pyformat"
"""SQLAlchemy's word for the style of parameters in psycopg and psycopg2."""
NUMBERED = "numeric_dollar"
"""That of asyncpg."""


class ConnectionAdapter(NamedTuple):
    """What differs between the types of connections."""

    execute: Callable[[Any, Statement], Any]
    """Executes a statement, and returns the text of its single value; awaited if `is_async`."""
    has_transaction: Callable[[Any], Any]
    """Returns whether a statement is part of a transaction that commits later; likewise."""
    is_async: bool = False


if TYPE_CHECKING:
    from typing import Protocol

    import psycopg

    class DjangoConnection(Protocol):
        """`django.db.connection`, or one of `django.db.connections`."""

        vendor: str

        def cursor(self) -> Any:
            """Open a cursor in the connection's transaction."""

    class SqlAlchemyConnection(Protocol):
        """SQLAlchemy's `Connection`."""

        def exec_driver_sql(self, statement: str, parameters: Any = None, /) -> Any:
            """Execute a statement in the parameter style of its driver."""

    class SqlAlchemySession(Protocol):
        """SQLAlchemy's `Session`, also a scoped one."""

        def connection(self) -> SqlAlchemyConnection:
            """Return the connection of the session's transaction."""

    class AsyncSqlAlchemyConnection(Protocol):
        """SQLAlchemy's `AsyncConnection`."""

        async def exec_driver_sql(self, statement: str, parameters: Any = None, /) -> Any:
            """Execute a statement in the parameter style of its driver."""

    class AsyncSqlAlchemySession(Protocol):
        """SQLAlchemy's `AsyncSession`, also a scoped one."""

        async def connection(self) -> AsyncSqlAlchemyConnection:
            """Return the connection of the session's transaction."""

    SyncConnection = (
        psycopg.Connection[Any] | DjangoConnection | SqlAlchemyConnection | SqlAlchemySession
    )
    AsyncConnection = (
        psycopg.AsyncConnection[Any] | AsyncSqlAlchemyConnection | AsyncSqlAlchemySession
    )
else:
    SyncConnection = AsyncConnection = object


def adapter_for(conn: SyncConnection | AsyncConnection) -> ConnectionAdapter:
    """Recognise a connection by the names of its classes, so that no library must be imported.

    Raises `UnknownConnectionError`. Uses `__class__` instead of the type, because there the proxies
    that tracers and frameworks put around connections return the class of the wrapped object.
    """
    for cls in conn.__class__.__mro__:
        kind = ADAPTERS.get((cls.__module__.partition(".")[0], cls.__qualname__))
        if kind is not None:
            return kind
    given = f"{conn.__class__.__module__}.{conn.__class__.__qualname__}"
    raise UnknownConnectionError(
        f"Workshed cannot write on {given}: give a Connection or AsyncConnection of psycopg 3, "
        "a connection of Django, or a Session, Connection, AsyncSession or AsyncConnection of "
        "SQLAlchemy; on anything else, jobs can be sent with SELECT workshed.send(…)"
    )


@overload
def run_on(conn: AsyncConnection, steps: Steps[Result]) -> Awaitable[Result]: ...


@overload
def run_on(conn: SyncConnection, steps: Steps[Result]) -> Result: ...


def run_on(
    conn: SyncConnection | AsyncConnection, steps: Steps[Result]
) -> Result | Awaitable[Result]:
    """Execute the statements of a generator, and return what it returns.

    On a connection of an event loop, returns that as an awaitable. Raises `UnknownConnectionError`.
    """
    adapter = adapter_for(conn)
    return _run_async(adapter, conn, steps) if adapter.is_async else _run(adapter, conn, steps)


@overload
def run_in_transaction(
    conn: AsyncConnection, steps: Steps[Result], caller: str
) -> Awaitable[Result]: ...


@overload
def run_in_transaction(conn: SyncConnection, steps: Steps[Result], caller: str) -> Result: ...


def run_in_transaction(
    conn: SyncConnection | AsyncConnection, steps: Steps[Result], caller: str
) -> Result | Awaitable[Result]:
    """Do as `run_on`, but only in a transaction of the caller.

    Without one, each statement would commit by itself, before what it belongs to. Raises
    `OpenTransactionError` then, which names the `caller`, a function.
    """
    adapter = adapter_for(conn)
    if adapter.is_async:
        return _run_in_transaction(adapter, conn, steps, caller)
    require_transaction(caller, is_open=adapter.has_transaction(conn))
    return _run(adapter, conn, steps)


async def _run_in_transaction(
    adapter: ConnectionAdapter, conn: object, steps: Steps[Result], caller: str
) -> Result:
    require_transaction(caller, is_open=await adapter.has_transaction(conn))
    return await _run_async(adapter, conn, steps)


def require_transaction(caller: str, *, is_open: bool) -> None:
    """Raise `OpenTransactionError`, which names the caller, unless a transaction is open."""
    if not is_open:
        raise OpenTransactionError(
            f"{caller} belongs to a transaction, and this connection has none open: begin one, for "
            "example with `transaction.atomic()` of Django or `conn.transaction()` of psycopg, and "
            "use an engine of SQLAlchemy without AUTOCOMMIT"
        )


def _run(adapter: ConnectionAdapter, conn: object, steps: Steps[Result]) -> Result:
    try:
        statement = next(steps)
        while True:
            statement = steps.send(adapter.execute(conn, statement))
    except StopIteration as done:
        returned: Result = done.value
        return returned


async def _run_async(adapter: ConnectionAdapter, conn: object, steps: Steps[Result]) -> Result:
    try:
        statement = next(steps)
        while True:
            statement = steps.send(await adapter.execute(conn, statement))
    except StopIteration as done:
        returned: Result = done.value
        return returned


def _psycopg(conn: "psycopg.Connection[Any]", statement: Statement) -> str | None:
    with conn.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(*statement)
        return _value(cursor.fetchone() if cursor.description else None)


async def _async_psycopg(conn: "psycopg.AsyncConnection[Any]", statement: Statement) -> str | None:
    async with conn.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(*statement)
        return _value(await cursor.fetchone() if cursor.description else None)


def _django(conn: "DjangoConnection", statement: Statement) -> str | None:
    _require_postgresql(conn.vendor)
    with conn.cursor() as cursor:
        cursor.execute(*statement)
        return _value(cursor.fetchone() if cursor.description else None)


def _session(session: "SqlAlchemySession", statement: Statement) -> str | None:
    return _sqlalchemy(session.connection(), statement)


def _sqlalchemy(conn: Any, statement: Statement) -> str | None:
    found = conn.exec_driver_sql(*_for_driver(conn.dialect, statement))
    return _value(found.fetchone() if found.returns_rows else None)


async def _async_session(session: "AsyncSqlAlchemySession", statement: Statement) -> str | None:
    return await _async_sqlalchemy(await session.connection(), statement)


async def _async_sqlalchemy(conn: Any, statement: Statement) -> str | None:
    found = await conn.exec_driver_sql(*_for_driver(conn.dialect, statement))
    return _value(found.fetchone() if found.returns_rows else None)


def _value(row: Any) -> str | None:
    return None if row is None or row[0] is None else f"{row[0]}"


def _psycopg_has_transaction(conn: Any) -> bool:
    return not conn.autocommit or conn.info.transaction_status != IDLE


async def _async_psycopg_has_transaction(conn: Any) -> bool:
    return _psycopg_has_transaction(conn)


def _django_has_transaction(conn: Any) -> bool:
    _require_postgresql(conn.vendor)
    return not conn.get_autocommit()


def _session_has_transaction(session: Any) -> bool:
    return _sqlalchemy_has_transaction(session.connection())


def _sqlalchemy_has_transaction(conn: Any) -> bool:
    _require_driver(conn.dialect)
    driver = conn.connection.dbapi_connection
    # That of psycopg may be in a transaction although it is in autocommit mode: `session_on`.
    return _psycopg_has_transaction(driver) if hasattr(driver, "pgconn") else not driver.autocommit


async def _async_session_has_transaction(session: Any) -> bool:
    return await _async_sqlalchemy_has_transaction(await session.connection())


async def _async_sqlalchemy_has_transaction(conn: Any) -> bool:
    return _sqlalchemy_has_transaction(conn.sync_connection)


def _for_driver(dialect: Any, statement: Statement) -> tuple[str, object]:
    """Write a statement in the style of SQLAlchemy's driver.

    `text()` would do so too, but declares a `datetime` to asyncpg as one without a time zone.
    """
    _require_driver(dialect)
    if dialect.paramstyle == NUMBERED:
        numbers = {name: f"${n}" for n, name in enumerate(statement.values, 1)}
        return statement.query % numbers, tuple(statement.values.values())
    return statement.query, statement.values


def _require_driver(dialect: Any) -> None:
    _require_postgresql(dialect.name)
    if dialect.paramstyle not in (NAMED, NUMBERED):
        raise UnknownConnectionError(
            f"Workshed cannot write through SQLAlchemy's driver {dialect.driver}, only through "
            "psycopg, psycopg2 and asyncpg; on this one, jobs can be sent with SELECT "
            "workshed.send(…)"
        )


def _require_postgresql(database: str) -> None:
    if database != "postgresql":
        raise UnknownConnectionError(
            "Workshed writes to PostgreSQL, in one transaction with your data, and this connection "
            f"is to {database}: use one to the database that you ran `workshed migrate` on"
        )


# By package and class name, because the module within the package differs between releases.
ADAPTERS: dict[tuple[str, str], ConnectionAdapter] = {
    ("psycopg", "Connection"): ConnectionAdapter(_psycopg, _psycopg_has_transaction),
    ("psycopg", "AsyncConnection"): ConnectionAdapter(
        _async_psycopg, _async_psycopg_has_transaction, is_async=True
    ),
    # `django.db.connection`
    ("django", "ConnectionProxy"): ConnectionAdapter(_django, _django_has_transaction),
    ("django", "BaseDatabaseWrapper"): ConnectionAdapter(_django, _django_has_transaction),
    ("sqlalchemy", "Connection"): ConnectionAdapter(_sqlalchemy, _sqlalchemy_has_transaction),
    ("sqlalchemy", "Session"): ConnectionAdapter(_session, _session_has_transaction),
    ("sqlalchemy", "scoped_session"): ConnectionAdapter(_session, _session_has_transaction),
    ("sqlalchemy", "AsyncConnection"): ConnectionAdapter(
        _async_sqlalchemy, _async_sqlalchemy_has_transaction, is_async=True
    ),
    ("sqlalchemy", "AsyncSession"): ConnectionAdapter(
        _async_session, _async_session_has_transaction, is_async=True
    ),
    ("sqlalchemy", "async_scoped_session"): ConnectionAdapter(
        _async_session, _async_session_has_transaction, is_async=True
    ),
}
