"""The resources that the tests of one process share, and those of each test."""

import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn, Protocol, cast

import psycopg
from psycopg import sql

from workshed.extras import require_extra

with require_extra("test"):
    import pytest

from workshed import db
from workshed.db import Connection
from workshed.jobs.control import queues
from workshed.middleware import TimeLimit
from workshed.settings import PREFIX, settings
from workshed.testing.database import maildir, scratch
from workshed.testing.database.clock import KitClock
from workshed.testing.database.connections import Connections
from workshed.testing.database.current import CurrentConnection
from workshed.testing.errors import KitError, NeedsDatabaseError
from workshed.testing.fake_broker import FakeBroker, replace_broker, share_actors
from workshed.testing.guard import guard_connections
from workshed.testing.inline import InlineJobs
from workshed.testing.jobs import Jobs
from workshed.testing.plain import PlainJobs
from workshed.testing.real_worker.real import RealJobs
from workshed.testing.real_worker.recorder import RunRecorder
from workshed.testing.real_worker.servers import KitRabbitMQ
from workshed.testing.real_worker.vhosts import virtual_host
from workshed.testing.real_worker.worker import WorkerProcess
from workshed.testing.sends import SentJobs
from workshed.transport import build
from workshed.transport.base import WorkshedBroker, describe_actors
from workshed.transport.postgresql import PostgreSQLBroker
from workshed.transport.stub import Stub

LOCK_WAIT = "2s"
FAKE = "fake"
REAL = "real"
MODES: dict[str, type[SentJobs]] = {FAKE: Jobs, "inline": InlineJobs, REAL: RealJobs}
"""Values of `@pytest.mark.jobs(mode=…)`."""


class Kit(Protocol):
    """Provides the jobs of each test."""

    @property
    def database_url(self) -> str:
        """The database of the tests; raises `NeedsDatabaseError` if there is none."""

    @contextmanager
    def test(self, rabbitmq: Callable[[], KitRabbitMQ], mode: str = FAKE) -> Iterator[SentJobs]:
        """Run the block as one test, in one of the `MODES`.

        Only `real` calls `rabbitmq`, unless the application works without RabbitMQ.
        """


class DatabaseKit:
    """The kit over PostgreSQL: one database, emptied after each test."""

    def __init__(
        self,
        database_url: str,
        conn: Connection,
        other_databases: Sequence[str] = (),
        worker_modules: Sequence[str] = (),
    ) -> None:
        """Take the kit's own `conn`, and the names of `other_databases` that tests may also use.

        A worker imports `worker_modules` before the modules of the actors.
        """
        self.database_url = database_url
        self._conn = conn
        self._other_databases = other_databases
        self._worker_modules = worker_modules
        self._connections = Connections(database_url)

    @cached_property
    def _tables(self) -> list[sql.Identifier]:
        """The tables to empty; read at the first test, when your own tables exist."""
        return scratch.list_empty_tables(self._conn)

    @contextmanager
    def test(self, rabbitmq: Callable[[], KitRabbitMQ], mode: str = FAKE) -> Generator[SentJobs]:
        """Redirect everything that the program sends to the database of the tests.

        Mails and stored contents go to a folder of the test.
        """
        if mode not in MODES:
            raise KitError(f"mode={mode!r} of the marker `jobs` is not one of {', '.join(MODES)}")
        if mode == REAL and build.get_broker().find_test_transaction() is not None:
            raise KitError(
                "the worker of mode='real' does not see what this test writes, because the test "
                "is in a transaction that it rolls back: use "
                "@pytest.mark.django_db(transaction=True) or a TransactionTestCase"
            )
        tables = self._tables
        with ExitStack() as stack:
            name = stack.enter_context(tempfile.TemporaryDirectory(prefix="workshed-test-"))
            folder = Path(name)
            urls = {
                "DATABASE_URL": self.database_url,
                "SMTP_URL": f"maildir:{folder / maildir.NAME}",
                "STORAGE_URL": f"file:{folder / 'contents'}",
            }
            if mode == REAL and not isinstance(build.get_broker(), PostgreSQLBroker):
                urls["BROKER_URL"] = stack.enter_context(virtual_host(rabbitmq()))
            stack.enter_context(patch_environment(**urls))
            stack.enter_context(guard_connections(self.database_url, self._other_databases))
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            patch.setattr(db, "get_pool", lambda: self._connections)
            stack.callback(self._empty_tables, tables)
            stack.callback(self._connections.reset)
            jobs = self._create_real_jobs if mode == REAL else self._create_fake_jobs
            yield jobs(stack, patch, folder, MODES[mode])

    def _create_fake_jobs(
        self, stack: ExitStack, patch: pytest.MonkeyPatch, folder: Path, kind: type[Any]
    ) -> SentJobs:
        real = build.get_broker()
        for middleware in real.middleware:
            if isinstance(middleware, TimeLimit):
                patch.setattr(middleware, "timeout_thread", NullTimeoutThread())
        self._connections.find_test_transaction = real.find_test_transaction
        conn = cast("Connection", CurrentConnection(self._conn, real.find_test_transaction))
        self._declare(real, conn)
        fake = FakeBroker(real)
        stack.enter_context(replace_broker(real, fake))
        clock = KitClock(conn)
        stack.callback(clock.reset)
        jobs: SentJobs = kind(fake, conn, clock, self._connections, folder)
        return jobs

    def _create_real_jobs(
        self, stack: ExitStack, _patch: pytest.MonkeyPatch, folder: Path, kind: type[Any]
    ) -> SentJobs:
        real = build.get_broker()
        sending = build.build_broker(settings(), real.declared_queues)
        share_actors(sending, real)
        without_rabbitmq = isinstance(sending, PostgreSQLBroker)
        recorders = [] if without_rabbitmq else [RunRecorder(real.actors)]
        sending.middleware = [*real.middleware, *recorders]
        self._declare(real, self._conn)
        modules = sorted({actor.fn.__module__ for actor in real.actors.values()})
        worker = WorkerProcess([*self._worker_modules, *modules], folder, self._other_databases)
        stack.callback(scratch.end_transactions, self._conn)
        stack.callback(sending.close)
        stack.callback(worker.kill)
        stack.enter_context(replace_broker(real, sending))
        jobs: SentJobs = kind(self._conn, worker, folder, without_rabbitmq=without_rabbitmq)
        return jobs

    def _declare(self, broker: WorkshedBroker, conn: Connection) -> None:
        """Declare queues and actors as a worker does: a job sent by SQL names only its actor."""
        queues.declare_queues(
            conn, {queue.name: queue.kind for queue in broker.declared_queues.values()}
        )
        queues.declare_actors(conn, describe_actors(broker))

    def _empty_tables(self, tables: list[sql.Identifier]) -> None:
        """Empty the tables; raises `KitError` if the test left a transaction open, and ends it."""
        try:
            self._delete_rows(tables)
        except psycopg.errors.LockNotAvailable as err:
            scratch.end_transactions(self._conn)
            self._delete_rows(tables)
            raise KitError(
                f"this test has left a transaction open ({err}); it was ended, so that the next "
                "test starts with empty tables. Commit it, or close its connection"
            ) from None

    def _delete_rows(self, tables: list[sql.Identifier]) -> None:
        try:
            self._conn.execute(scratch.delete_all(tables))
        except psycopg.errors.UndefinedTable:  # a fixture has dropped one that it had created
            tables[:] = scratch.list_existing_tables(self._conn, tables)
            self._conn.execute(scratch.delete_all(tables))

    def close(self) -> None:
        """Close all connections."""
        self._connections.close()


class PlainKit:
    """The kit without PostgreSQL: it records plain sends."""

    def __init__(self, why: str) -> None:
        """Keep the reason why there is no PostgreSQL."""
        self._reason = why

    @property
    def database_url(self) -> str:
        """Raise `NeedsDatabaseError`."""
        raise NeedsDatabaseError("jobs_database", self._reason)

    @contextmanager
    def test(self, _rabbitmq: Callable[[], KitRabbitMQ], mode: str = FAKE) -> Generator[PlainJobs]:
        """Record what the program sends."""
        if mode != FAKE:
            raise NeedsDatabaseError(f"mode={mode!r}", self._reason)
        real = build.get_broker()
        stub = Stub(real.declared_queues, [])
        share_actors(stub, real)
        stub.middleware = real.middleware
        with replace_broker(real, stub), pytest.MonkeyPatch.context() as patch:
            # The application's connection does not lead to a test database.
            patch.setattr(real, "outbox_statement", self._refuse)
            patch.setattr(real, "outbox_statements", self._refuse)
            yield PlainJobs(stub, self._reason)

    def _refuse(self, *_: object) -> NoReturn:
        raise NeedsDatabaseError("schedule.send", self._reason)


class NullTimeoutThread:
    """Replaces the thread that enforces time limits, because tests have their own."""

    def add(self, alarm: Any) -> None:
        """Ignore the alarm."""

    def interrupt_all(self, error: type[BaseException]) -> None:
        """Do nothing."""


@contextmanager
def create_kit(
    server: str | Exception,
    worker: str,
    other_databases: Sequence[str] = (),
    worker_modules: Sequence[str] = (),
) -> Generator[Kit]:
    """Create the resources that the tests of one process share."""
    if isinstance(server, Exception):
        yield PlainKit(str(server))
        return
    with (
        scratch.scratch_database(server, worker) as url,
        open_kit(url, other_databases, worker_modules) as jobs,
    ):
        yield jobs


@contextmanager
def open_kit(
    url: str, other_databases: Sequence[str] = (), worker_modules: Sequence[str] = ()
) -> Generator[DatabaseKit]:
    """Use a migrated database of tests, whose tables the kit empties."""
    with db.Connection.connect(url, autocommit=True, **db.CONNECT_OPTIONS) as conn:
        conn.execute(f"SET lock_timeout = '{LOCK_WAIT}'")
        scratch.prepare_database(conn)
        jobs = DatabaseKit(url, conn, other_databases, worker_modules)
        try:
            yield jobs
        finally:
            jobs.close()


@contextmanager
def patch_environment(**values: str) -> Generator[None]:
    """Set these values for the settings inside the block, including those of child processes."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(PREFIX + name, value)
        settings.cache_clear()
        try:
            yield
        finally:
            settings.cache_clear()
