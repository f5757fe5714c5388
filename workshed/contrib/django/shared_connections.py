"""Django's connection in the transaction of a test, as Workshed uses a connection.

A `TestCase` rolls its transaction back, so nothing that another connection stores or reads could be
part of the test. The test kit therefore works on this one.
"""

from collections.abc import Generator
from contextlib import contextmanager
from itertools import count
from typing import Any, Self, cast

import psycopg
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.transaction import TransactionManagementError
from psycopg import sql
from psycopg.adapt import AdaptersMap
from psycopg.pq import TransactionStatus

from workshed.contrib.django import configuration
from workshed.contrib.django.transactions import has_own_block, is_in_test

TO_COMMIT = "use a TransactionTestCase or @pytest.mark.django_db(transaction=True)"
SWALLOWED = (
    "an error of the database was caught outside of transaction.atomic(), and the transaction of "
    f"this test cannot go on after it: put the statement in an atomic() of its own, or {TO_COMMIT}"
)
_numbers = count(1)


class SharedConnectionFinder:
    """Finds the transaction of the test that this thread runs."""

    def __init__(self, alias: str = DEFAULT_DB_ALIAS) -> None:
        """Take the alias of the database that Workshed's tables are in."""
        self._alias = alias

    def __call__(self) -> "SharedConnection | None":
        """Return it, if a `TestCase` has one open on Workshed's database."""
        for wrapper in connections.all(initialized_only=True):
            if (
                wrapper.alias == self._alias
                and wrapper.connection is not None
                and is_in_test(wrapper)
                and configuration.is_same_database(wrapper.settings_dict)
            ):
                return SharedConnection(wrapper)
        return None


class SharedConnection:
    """A connection whose transactions are savepoints in that of a test.

    Its cursors are psycopg's: they convert values as Workshed expects.
    """

    autocommit = False
    has_committed = False
    """Whether a transaction has ended with a commit, and not in a block of the application."""

    def __init__(self, wrapper: Any) -> None:
        """Take Django's wrapper of the connection."""
        self._wrapper = wrapper
        self._conn: psycopg.Connection[Any] = wrapper.connection
        self._blocks: list[Any] = []
        self.adapters = AdaptersMap(psycopg.adapters)
        self.row_factory = psycopg.rows.tuple_row
        self.used_at = 0.0

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """The class of the connection, so that Workshed's functions take this one too."""
        return type(self._conn)

    def __getattr__(self, name: str) -> Any:
        """Do everything else as the connection does."""
        return getattr(self._conn, name)

    def commit(self) -> None:
        """Refuse, because it would commit what the test has written."""
        raise TransactionManagementError(f"conn.commit() would commit the test: {TO_COMMIT}")

    def rollback(self) -> None:
        """Refuse, because it would undo what the test has written."""
        raise TransactionManagementError(f"conn.rollback() would undo the test: {TO_COMMIT}")

    def cursor(self, name: str = "", *, binary: bool = False, **options: Any) -> Any:
        """Open a cursor of psycopg; with a name, one on the server."""
        own = cast("Any", self)
        found = (
            psycopg.ServerCursor(own, name, **options) if name else psycopg.Cursor(own, **options)
        )
        if binary:
            found.format = psycopg.pq.Format.BINARY
        return found

    def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
        """Run a statement; returns its cursor."""
        return self.cursor().execute(query, params, **options)

    @contextmanager
    def transaction(self, *_: object, **__: object) -> Generator[None]:
        """Run the block in a savepoint, which an exception rolls back."""
        name = sql.Identifier(f"workshed_{next(_numbers)}")
        functions = len(self._wrapper.run_on_commit)
        self.execute(sql.SQL("SAVEPOINT {}").format(name))
        try:
            yield
        except BaseException:
            self.execute(sql.SQL("ROLLBACK TO SAVEPOINT {0}; RELEASE SAVEPOINT {0}").format(name))
            self._forget_on_commit(functions)
            raise
        self.execute(sql.SQL("RELEASE SAVEPOINT {}").format(name))

    def __enter__(self) -> Self:
        """Begin what is a transaction elsewhere."""
        self._blocks.append(self._run_block())
        self._blocks[-1].__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        """End it."""
        self._blocks.pop().__exit__(*error)
        if error[0] is None:
            self.has_committed = not has_own_block(self._wrapper)

    @contextmanager
    def _run_block(self) -> Generator[None]:
        """Run the block in a savepoint, after which the time limit of a job ends as well."""
        with self.transaction():
            [limit] = self.execute("SELECT current_setting('statement_timeout')").fetchone()
            yield
            self.execute("SELECT set_config('statement_timeout', %s, true)", (limit,))

    @contextmanager
    def keep_usable(self) -> Generator[None]:
        """Run a job in the block; if an error of the database has ended it, undo its writes.

        Otherwise the test could not go on, because PostgreSQL refuses any further statement.
        """
        name = sql.Identifier(f"workshed_{next(_numbers)}")
        functions = len(self._wrapper.run_on_commit)
        self.execute(sql.SQL("SAVEPOINT {}").format(name))
        try:
            yield
            if self._is_broken():
                raise TransactionManagementError(SWALLOWED)
        finally:
            if self._is_broken():
                self.execute(sql.SQL("ROLLBACK TO SAVEPOINT {}").format(name))
                self._forget_on_commit(functions)
                self._wrapper.needs_rollback = False
            self.execute(sql.SQL("RELEASE SAVEPOINT {}").format(name))

    def _forget_on_commit(self, first: int) -> None:
        """Drop the functions of a transaction that is rolled back, as Django does."""
        del self._wrapper.run_on_commit[first:]

    def _is_broken(self) -> bool:
        status = self._conn.info.transaction_status
        return bool(self._wrapper.needs_rollback) or status == TransactionStatus.INERROR
