"""The broker, the actors and the database that a command works with."""

import importlib
import sys
from collections.abc import Collection, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

import psycopg

from workshed import db, migrate
from workshed.app import get_app
from workshed.console.errors import NotFoundError
from workshed.console.queue_servers import rabbitmq_queues
from workshed.console.queue_servers.queue_server import QueueServer
from workshed.console.queue_servers.rabbitmq_queues import RabbitMQQueues
from workshed.console.queue_servers.table_queues import TableQueues
from workshed.console.rabbitmq.management_api import TIMEOUT_S, ManagementApi
from workshed.database.postgres import Connection
from workshed.errors import DatabaseUnreachableError, SettingsError, WorkshedError
from workshed.jobs.control import queues
from workshed.queues import Queue
from workshed.settings import settings
from workshed.transport import build
from workshed.transport.amqp import topology
from workshed.transport.errors import did_you_mean
from workshed.transport.postgresql import PostgreSQLBroker
from workshed.transport.rabbitmq import RabbitMQBroker


def has_rabbitmq() -> bool:
    """Return whether jobs travel by RabbitMQ here; else every job is a row of PostgreSQL."""
    return settings().broker_url.get_secret_value() != build.POSTGRESQL_URL


def require_broker() -> RabbitMQBroker | PostgreSQLBroker:
    """Return the broker of this environment; raises `SettingsError` for `stub://`."""
    found = build.get_broker()
    if not isinstance(found, (RabbitMQBroker, PostgreSQLBroker)):
        raise SettingsError(
            "WORKSHED_BROKER_URL=stub:// has no queues; set it to the URL of a RabbitMQ, or to "
            f"{build.POSTGRESQL_URL}"
        )
    return found


def require_rabbitmq(instead: str) -> RabbitMQBroker:
    """Return the broker of this environment.

    Raises `SettingsError` if it has no RabbitMQ; `instead` says what to do then.
    """
    found = require_broker()
    if isinstance(found, PostgreSQLBroker):
        raise SettingsError(
            f"there is no RabbitMQ here (WORKSHED_BROKER_URL={build.POSTGRESQL_URL}): {instead}"
        )
    return found


def open_queue_server(amqp_s: float = topology.TIMEOUT_S, api_s: float = TIMEOUT_S) -> QueueServer:
    """Return the server that has the queues; the times are the longest waits for RabbitMQ."""
    found = require_broker()
    if isinstance(found, RabbitMQBroker):
        return RabbitMQQueues(found, amqp_s, api_s)
    return TableQueues(found)


def open_management(instead: str, timeout_s: float = TIMEOUT_S) -> ManagementApi | None:
    """Return the management API, or `None` if it is not configured; raises `SettingsError`."""
    return rabbitmq_queues.open_management(require_rabbitmq(instead), timeout_s)


def list_queue_names(conn: Connection) -> list[str]:
    """Return the queues that are declared here, and those that any worker has declared."""
    return list(
        dict.fromkeys(
            [*require_broker().declared_queues, *(one.name for one in queues.list_queues(conn))]
        )
    )


def check_queues(conn: Connection, names: Iterable[str]) -> None:
    """Raise `NotFoundError` for an unknown queue."""
    known = list_queue_names(conn)
    for name in names:
        if name not in known:
            raise NotFoundError(
                f"no queue {name!r}{did_you_mean(name, known)}; there are {', '.join(known)}"
            )


def register_queues(conn: Connection, names: Iterable[str]) -> list[str]:
    """Return the names if all are queues; store those that no worker has declared yet.

    Raises `NotFoundError` before anything is written.
    """
    check_queues(conn, names)
    declared = require_broker().declared_queues
    missing = {*names} - {one.name for one in queues.list_queues(conn)}
    queues.declare_queues(conn, {name: declared[name].kind for name in missing})
    return list(dict.fromkeys(names))


def import_actors(packages: Iterable[str]) -> tuple[str, ...]:
    """Import modules with actors, also from the working directory; return their names.

    Without any, those that the App names.

    An error raised inside a module propagates. As in a worker, the broker is built before, so that
    a bare `@dramatiq.actor` uses it. Raises `NotFoundError` for a module that does not exist.
    """
    build.get_broker()
    packages = tuple(packages) or get_app().actors
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)  # as the `dramatiq` command does
    for package in packages:
        try:
            importlib.import_module(package)
        except ModuleNotFoundError as err:
            if err.name is None or not f"{package}.".startswith(f"{err.name}."):
                raise
            raise NotFoundError(
                f"there is no module {package!r} to import actors from; looked where Workshed is "
                f"installed and in {here}"
            ) from None
    return packages


def require_queues(packages: Collection[str]) -> dict[str, Queue]:
    """Import these modules; return the queues that their actors use, or that they declare.

    Without any module, return all declared queues, because it is unknown which are used.
    """
    broker = build.get_broker()
    if packages:
        import_actors(packages)
    return broker.used_queues() if packages else broker.declared_queues


@contextmanager
def open_database(*streams: str) -> Generator[Connection]:
    """Open a connection, in autocommit, to a database with all migrations, also of `streams`.

    Raises `DatabaseUnreachableError`, `MigrationError`, or `WorkshedError` for a missing right.
    """
    try:
        with db.connect() as conn:
            for stream in ("workshed", *streams):
                migrate.require_stream(conn, stream)
            yield conn
    except db.TRANSIENT_ERRORS as err:
        place = db.describe_address(settings().database_url.get_secret_value())
        raise DatabaseUnreachableError(
            f"PostgreSQL at {place} (WORKSHED_DATABASE_URL): {str(err).strip()}"
        ) from None
    except psycopg.errors.InsufficientPrivilege as err:
        raise WorkshedError(
            f"PostgreSQL refuses: {str(err).strip()}. The user of WORKSHED_DATABASE_URL lacks that "
            "right; `workshed roles` grants it to the roles that need it"
        ) from None
