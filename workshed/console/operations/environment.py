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
from workshed.console.rabbitmq import amqp
from workshed.console.rabbitmq.management_api import TIMEOUT_S, ManagementApi
from workshed.database.postgres import Connection
from workshed.errors import DatabaseUnreachableError, SettingsError, WorkshedError
from workshed.jobs.control import queues
from workshed.queues import Queue
from workshed.settings import settings
from workshed.transport import build
from workshed.transport.errors import did_you_mean
from workshed.transport.rabbitmq import RabbitMQBroker


def require_rabbitmq() -> RabbitMQBroker:
    """Return the broker of this environment; raises `SettingsError` for any without RabbitMQ."""
    found = build.get_broker()
    if not isinstance(found, RabbitMQBroker):
        raise SettingsError(
            "this needs RabbitMQ; WORKSHED_BROKER_URL is that of a broker without it"
        )
    return found


def open_management(timeout_s: float = TIMEOUT_S) -> ManagementApi | None:
    """Return the management API of the broker's virtual host, or `None` if it is not configured."""
    url = settings().management_url
    broker = require_rabbitmq()
    vhost = amqp.url_vhost(broker.urls[0])
    if url is None:
        return None
    return ManagementApi(url.get_secret_value(), vhost, timeout_s, broker.prefix)


def list_queue_names(conn: Connection) -> list[str]:
    """Return the queues that are declared here, and those that any worker has declared."""
    return list(
        dict.fromkeys(
            [*require_rabbitmq().declared_queues, *(one.name for one in queues.list_queues(conn))]
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
    declared = require_rabbitmq().declared_queues
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
