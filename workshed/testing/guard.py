"""Keep a test from reading or writing any other PostgreSQL database than its own.

An engine, pool or connection that the application created before the test leads to the database of
its settings. What a test writes there stays, and a job sent on it would run in production. So while
a test uses `jobs`, the drivers refuse statements on connections to any other database.
"""

import fnmatch
import functools
import gc
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

import psycopg
from psycopg.conninfo import conninfo_to_dict

from workshed.database.urls import list_servers
from workshed.testing.errors import OtherDatabaseError

LOCAL = {"", "localhost", "127.0.0.1", "::1"}

Query = Callable[..., Any]


class DatabaseAddress(NamedTuple):
    """The address of a database."""

    name: str
    host: str
    port: int

    def __str__(self) -> str:
        """Return the text that errors show."""
        return f'"{self.name}" at {self.host or "a local socket"}:{self.port}'

    @property
    def key(self) -> tuple[str, str, int]:
        """Return a key that is equal for different names of the same server."""
        is_local = self.host in LOCAL or self.host.startswith("/")
        return self.name, "" if is_local else self.host, self.port


def parse_addresses(url: str) -> list[DatabaseAddress]:
    """Return the addresses in a URL: one for each of its hosts."""
    parts = conninfo_to_dict(url)
    name = str(parts.get("dbname") or parts.get("user") or "")
    return [DatabaseAddress(name, host, int(port)) for host, port in list_servers(url)]


@dataclass
class Guard:
    """The databases that statements may reach now."""

    own: Sequence[DatabaseAddress] = ()
    """The database of the test, at each of its hosts; empty outside of tests, when nothing is
    refused."""
    others: Sequence[str] = ()
    """Names, or patterns such as `analytics_*`, of other databases that tests may use."""

    def check(self, place: Callable[[], DatabaseAddress]) -> None:
        """Raise `OtherDatabaseError` for a connection to another database."""
        if not self.own:
            return
        found = place()
        is_own = any(found.key == address.key for address in self.own)
        if not is_own and not self._is_allowed(found.name):
            raise OtherDatabaseError(str(found), " or ".join(map(str, self.own)))

    def _is_allowed(self, name: str) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.others)


guard = Guard()


@contextmanager
def guard_connections(url: str, others: Sequence[str] = ()) -> Generator[None]:
    """Refuse statements on connections to databases other than that of `url` inside the block."""
    install_guard()
    before = guard.own, guard.others
    guard.own, guard.others = parse_addresses(url), others
    try:
        yield
    finally:
        guard.own, guard.others = before


@functools.cache
def install_guard() -> None:
    """Make the drivers call the guard before each statement, including drivers imported later."""
    _watch_psycopg()
    for name, watch in OPTIONAL_DRIVERS.items():
        if name in sys.modules:
            watch(sys.modules[name])
    sys.meta_path.insert(0, DriverImportHook())


def _watch(cls: type, names: Sequence[str], place: Callable[[Any], DatabaseAddress]) -> None:
    """Make methods of a class call the guard first, with the address that `place` returns."""
    for name in names:
        method = getattr(cls, name)

        @functools.wraps(method)
        def asking(self: Any, *args: Any, _method: Query = method, **kwargs: Any) -> Any:
            guard.check(lambda: place(self))
            return _method(self, *args, **kwargs)

        setattr(cls, name, asking)


def _watch_psycopg() -> None:
    ways = ("execute", "executemany", "stream", "copy")
    _watch(psycopg.Cursor, ways, _psycopg_address)
    _watch(psycopg.AsyncCursor, ways, _psycopg_address)
    _watch(psycopg.ServerCursor, ("execute",), _psycopg_address)
    _watch(psycopg.AsyncServerCursor, ("execute",), _psycopg_address)


def _psycopg_address(cursor: Any) -> DatabaseAddress:
    info = cursor.connection.info
    return DatabaseAddress(info.dbname, info.host, info.port)


HEAP_TYPE = 1 << 9
"""The flag of a class that was created in Python, so that its methods can be replaced."""
PSYCOPG2_METHODS = ("execute", "executemany", "callproc", "copy_expert", "copy_from", "copy_to")


class Psycopg2Guard:
    """Makes each cursor of any class call the guard, including those of open connections.

    The classes of psycopg2 are written in C, so their methods cannot be replaced.
    """

    def __init__(self) -> None:
        extensions: Any = importlib.import_module("psycopg2.extensions")
        importlib.import_module("psycopg2.extras")  # the most used cursors
        self._cursor: type = extensions.cursor
        self._connection: type = extensions.connection
        self._watched_classes: dict[type, type] = {}
        asking = self.watch_cursor_class

        class Connection(extensions.connection):  # type: ignore[misc]  # not known here
            """A connection whose cursors call the guard, including those of a named class."""

            def cursor(
                self, name: str | None = None, cursor_factory: Any = None, *args: Any, **kwargs: Any
            ) -> Any:
                factory = asking(cursor_factory or self.cursor_factory)
                return super().cursor(name, factory, *args, **kwargs)

        self._watched_connection: type = Connection

    def watch_cursor_class(self, factory: Any) -> Any:
        """Return a cursor class that calls the guard: this one, or a subclass of a class in C."""
        cls = factory or self._cursor
        if not isinstance(cls, type):
            return cls
        if cls not in self._watched_classes:
            is_in_c = not cls.__flags__ & HEAP_TYPE
            self._watched_classes[cls] = type(cls.__name__, (cls,), {}) if is_in_c else cls
            _watch(
                self._watched_classes[cls],
                PSYCOPG2_METHODS,
                lambda one: _psycopg2_address(one.connection),
            )
        return self._watched_classes[cls]

    def watch_connect(self, connect: Query) -> Query:
        """Wrap `connect`, so that cursors of its connections call the guard."""

        @functools.wraps(connect)
        def connect_asking(*args: Any, **kwargs: Any) -> Any:
            factory = kwargs.get("connection_factory") or self._connection
            if factory is self._connection:
                kwargs["connection_factory"] = self._watched_connection
            elif isinstance(factory, type):  # its own `cursor` chooses a class and calls ours
                bases = (factory, self._watched_connection)
                kwargs["connection_factory"] = type(factory.__name__, bases, {})
            conn = connect(*args, **kwargs)
            if not isinstance(conn, self._watched_connection):  # created by a function
                self.watch_connection(conn)
            return conn

        return connect_asking

    def watch_all_open(self) -> None:
        """Watch the open connections, and each cursor class that they may use."""
        for one in gc.get_objects():
            if issubclass(type(one), self._connection):
                self.watch_connection(one)
        for cls in _subclasses(self._cursor):
            self.watch_cursor_class(cls)

    def watch_connection(self, conn: Any) -> None:
        """Watch a connection of a class other than ours."""
        conn.cursor_factory = self.watch_cursor_class(conn.cursor_factory)


def _watch_psycopg2(module: ModuleType) -> None:
    psycopg2 = Psycopg2Guard()
    connect = module._connect  # noqa: SLF001 -- what every `connect` calls, however it was imported
    module._connect = psycopg2.watch_connect(connect)  # type: ignore[attr-defined]  # noqa: SLF001
    psycopg2.watch_all_open()


def _subclasses(cls: type) -> Generator[type]:
    subclasses: list[type] = cls.__subclasses__()
    for subclass in subclasses:
        yield subclass
        yield from _subclasses(subclass)


def _psycopg2_address(conn: Any) -> DatabaseAddress:
    return DatabaseAddress(conn.info.dbname, conn.info.host or "", conn.info.port)


def _watch_asyncpg(_: ModuleType) -> None:
    connection: Any = importlib.import_module("asyncpg.connection").Connection
    statement: Any = importlib.import_module("asyncpg.prepared_stmt").PreparedStatement
    reading = ("fetch", "fetchval", "fetchrow", "fetchmany", "executemany", "cursor")
    copying = ("copy_from_table", "copy_from_query", "copy_to_table", "copy_records_to_table")
    _watch(connection, ("execute", "prepare", *reading, *copying), _asyncpg_address)
    _watch(statement, ("explain", *reading), lambda one: _asyncpg_address(one._connection))  # noqa: SLF001


def _asyncpg_address(conn: Any) -> DatabaseAddress:
    # asyncpg has no public attributes for them.
    address, database = conn._addr, conn._params.database  # noqa: SLF001
    host, port = address if isinstance(address, tuple) else _socket_address(address)
    return DatabaseAddress(database, host, port)


def _socket_address(path: str) -> tuple[str, int]:
    folder, _, port = path.rpartition("/.s.PGSQL.")
    return folder, int(port)


OPTIONAL_DRIVERS: dict[str, Callable[[ModuleType], None]] = {
    "psycopg2": _watch_psycopg2,
    "asyncpg": _watch_asyncpg,
}
"""Optional drivers, and the functions that make them call the guard."""


class DriverImportHook(importlib.abc.MetaPathFinder):
    """Makes drivers that are imported during or after the first test call the guard."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find such a driver as Python does, and extend its loader."""
        if fullname not in OPTIONAL_DRIVERS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_and_watch(module: ModuleType) -> None:
                load(module)
                OPTIONAL_DRIVERS[fullname](module)

            spec.loader.exec_module = load_and_watch  # type: ignore[method-assign]
        return spec
