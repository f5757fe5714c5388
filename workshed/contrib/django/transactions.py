"""Django's ORM and Workshed in one transaction.

In a job with `once=True`, the ORM writes on the connection whose transaction stores the outcome of
the job. In the application's own transactions, `send` writes on Django's connection.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

import psycopg
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.transaction import Atomic, TransactionManagementError
from psycopg.adapt import AdaptersMap

from workshed import db
from workshed.contrib.django import configuration
from workshed.database.adapters import SyncConnection

ENDED = "the job that this connection was lent to has ended"


def is_in_test(wrapper: Any) -> bool:
    """Return whether a `TestCase` has opened the transaction of a connection, to roll it back."""
    return any(getattr(block, "_from_testcase", False) for block in wrapper.atomic_blocks)


def has_own_block(wrapper: Any) -> bool:
    """Return whether a connection is in an `atomic` block that is not the transaction of a test."""
    return any(not getattr(block, "_from_testcase", False) for block in wrapper.atomic_blocks)


class TransactionFinder:
    """Finds the transaction that a thread has open on one of Django's connections."""

    def __init__(self, alias: str = DEFAULT_DB_ALIAS) -> None:
        """Take the alias of the database that Workshed's tables are in."""
        self._alias = alias

    def __call__(self) -> SyncConnection | None:
        """Return Django's connection if it is in `transaction.atomic()`.

        The transaction of a `TestCase` is none of the application, so only a block in it counts.
        """
        for wrapper in connections.all(initialized_only=True):
            if (
                wrapper.alias == self._alias
                and has_own_block(wrapper)
                and configuration.is_same_database(wrapper.settings_dict)
            ):
                return cast("SyncConnection", wrapper)
        return None


class Lender:
    """Lets the ORM write in a transaction of Workshed.

    Inside, the ORM behaves as in an outer `atomic` block: its own blocks are savepoints, a durable
    one is refused, and functions of `on_commit` run after the commit.
    """

    def __init__(self, alias: str = DEFAULT_DB_ALIAS) -> None:
        """Take the alias whose queries are to be part of it."""
        self._alias = alias

    @contextmanager
    def __call__(self, joined: db.JoinedTransaction) -> Generator[None]:
        """Replace Django's connection of this thread by that of the transaction.

        Raises Django's `TransactionManagementError` at the end if it would roll back as well, and
        `ImproperlyConfigured` if it is to another database.
        """
        own = connections[self._alias]
        if is_in_test(own):  # a test that runs the job in its own transaction
            joined.is_used = True
            yield
            _require_usable(own)
            return
        if not configuration.is_same_database(own.settings_dict):
            raise ImproperlyConfigured(
                f"Django uses the database {own.settings_dict['NAME']!r}, and Workshed another "
                "one: point both at the database of your tests, as docs/testing.md says"
            )
        lent = connections.create_connection(self._alias)
        connection = self._connect(joined, lent)
        lent.execute_wrappers = own.execute_wrappers
        connections[self._alias] = lent
        try:
            yield
        finally:
            connections[self._alias] = own
            connection.has_ended = True
        if lent.connection is not connection:
            if lent.connection is not None:
                lent.connection.close()
            lent.needs_rollback = True
        _require_usable(lent)
        joined.after_commit += [function for _, function, _ in lent.run_on_commit]

    def _connect(self, joined: db.JoinedTransaction, lent: Any) -> "LentConnection":
        """Make a wrapper what it would be in an `atomic` block on the joined transaction."""
        lent.connection = connection = LentConnection(joined, lent)
        lent.autocommit, lent.in_atomic_block = False, True
        lent.atomic_blocks.append(Atomic(self._alias, savepoint=True, durable=False))
        create_cursor = lent.create_cursor

        def create_prepared_cursor(name: str | None = None) -> Any:
            connection.prepare()
            return create_cursor(name)

        lent.create_cursor = create_prepared_cursor
        # What Django or PostGIS registers for each connection that it opens.
        if register := getattr(lent, "register_geometry_adapters", None):
            register(connection)
        if apps.is_installed("django.contrib.postgres"):
            from django.contrib.postgres.signals import register_type_handlers  # noqa: PLC0415 -- optional

            register_type_handlers(lent)
        return connection


def _require_usable(wrapper: Any) -> None:
    """Raise an error if Django would roll back the transaction of a job at its end."""
    if wrapper.needs_rollback or not wrapper.in_atomic_block:
        raise TransactionManagementError(
            "the transaction of this job is rolled back: an error of the database was caught "
            "outside of transaction.atomic() or in atomic(savepoint=False), or the job closed "
            "its connection or connected again"
        ) from getattr(wrapper, "rollback_exc", None)


class LentConnection:
    """A connection of Workshed, as Django's wrapper of a connection uses it.

    Its cursors are Django's: they convert values as the ORM expects.
    """

    autocommit = False

    def __init__(self, joined: db.JoinedTransaction, wrapper: Any) -> None:
        """Take the transaction, and the wrapper that will use this."""
        options = wrapper.get_connection_params()
        self._joined = joined
        self._conn = joined.conn
        self._time_zone = wrapper.timezone_name
        self._new_cursor = options["cursor_factory"]
        self._limited_for: tuple[float | None, int] = (None, 0)
        self.adapters = AdaptersMap(options["context"])
        self.row_factory = psycopg.rows.tuple_row
        self.has_ended = False
        """The job has ended, and the connection may be another job's."""

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """The class of the connection, so that Workshed's functions take this one too."""
        return type(self._conn)

    def __getattr__(self, name: str) -> Any:
        """Do everything else as the connection does, until the job has ended."""
        if self.has_ended:
            raise psycopg.InterfaceError(ENDED)
        return getattr(self._conn, name)

    @property
    def closed(self) -> bool:
        """Whether it can be used no more."""
        return self.has_ended or self._conn.closed

    def cursor(self, name: str = "", *, binary: bool = False, **options: Any) -> Any:
        """Open a cursor of Django's class; with a name, one on the server."""
        self.prepare()
        made = (
            psycopg.ServerCursor(cast("Any", self), name, **options)
            if name
            else self._new_cursor(self, **options)
        )
        if binary:
            made.format = psycopg.pq.Format.BINARY
        return made

    def prepare(self) -> None:
        """Set the time zone that Django expects, and the time limit of the job.

        Both end with the transaction, or with a savepoint that is rolled back.
        """
        if self.has_ended:
            raise psycopg.InterfaceError(ENDED)
        self._joined.is_used = True
        if self._conn.info.parameter_status("TimeZone") != self._time_zone:
            query = "SELECT set_config('TimeZone', %s, true)"
            self._conn.execute(query, (self._time_zone,))
        limits = db.deadline.get(), self._joined.undone_blocks
        if self._limited_for != limits:
            db.limit_statements(self._conn)
            self._limited_for = limits

    def commit(self) -> None:
        """Refuse: the job commits."""
        raise TransactionManagementError("a job with once=True commits when it ends")

    def rollback(self) -> None:
        """Refuse: an exception undoes the job, or a block of `atomic`."""
        raise TransactionManagementError("raise an exception to roll back a job with once=True")

    def close(self) -> None:
        """Leave it open; the wrapper remembers the call, and the transaction is rolled back."""

    @property
    def _pool(self) -> Any:
        """The pool to which the wrapper returns it, if Django's connections have one."""
        return _NoPool


class _NoPool:
    """Keeps a connection that belongs to Workshed's pool."""

    @staticmethod
    def putconn(_connection: object) -> None:
        """Leave it open."""
