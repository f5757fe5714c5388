"""The connection of psycopg 3 that Django or SQLAlchemy has wrapped."""

from typing import Any

from workshed.database.adapters import SyncConnection, adapter_for, require_transaction
from workshed.database.postgres import Connection
from workshed.errors import UnknownConnectionError

WRITABLE = (
    "give a Connection of psycopg 3, a connection of Django, or a Session or Connection of "
    "SQLAlchemy with postgresql+psycopg://"
)


def driver_connection(conn: SyncConnection, caller: str) -> Connection:
    """Return the connection of psycopg 3 in whose transaction the application writes on `conn`.

    This is for functions that read or write more than one value at a time. Raises
    `OpenTransactionError`, which names the `caller`, if Django or SQLAlchemy has no transaction
    open; and `UnknownConnectionError` for a connection of another kind, driver or system, or of an
    event loop.
    """
    adapter = adapter_for(conn)
    wrapper: Any = conn
    found: Any = conn
    if not _is_of_psycopg(conn) and not adapter.is_async:
        require_transaction(caller, is_open=adapter.has_transaction(conn))
        found = _of_django(wrapper) if hasattr(conn, "vendor") else _of_sqlalchemy(wrapper)
    if adapter.is_async or not _is_of_psycopg(found):
        name = f"{found.__class__.__module__}.{found.__class__.__qualname__}"
        raise UnknownConnectionError(f"{caller} cannot write on {name}: {WRITABLE}")
    driver: Connection = found
    return driver


def _is_of_psycopg(conn: object) -> bool:
    """Use `__class__`, because a connection that Workshed lends to Django stands for another."""
    names = ((cls.__module__.partition(".")[0], cls.__name__) for cls in conn.__class__.__mro__)
    return ("psycopg", "Connection") in names


def _of_django(conn: Any) -> Any:
    with conn.cursor():  # it connects, and counts as a use of the transaction of the job
        return conn.connection


def _of_sqlalchemy(conn: Any) -> Any:
    connection = conn if hasattr(conn, "exec_driver_sql") else conn.connection()
    if not connection.in_transaction():
        connection.exec_driver_sql("SELECT 1")  # begins one, or its `commit()` would do nothing
    return connection.connection.driver_connection
