"""What the checks work on: the settings, the App, and the servers they lead to."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import TypeVar

import psycopg

from workshed import db
from workshed.app import App
from workshed.console.errors import ManagementError
from workshed.console.operations.finding import Finding
from workshed.console.rabbitmq import amqp
from workshed.console.rabbitmq.management_api import ManagementApi
from workshed.database.postgres import Connection
from workshed.db import InterruptibleConnection
from workshed.jobs.control import queues
from workshed.jobs.control.queues import KnownActor
from workshed.queues import Queue, weigh_queues
from workshed.settings import Settings
from workshed.transport import build

QUERY_MS = 4_000
"""Below the deadline of a check, so that PostgreSQL's own error is shown."""
CONNECT_S = 4

T = TypeVar("T")


@dataclass(frozen=True)
class DoctorContext:
    """The settings and the App, with defaults in place of values that cannot be read."""

    settings: Settings
    app: App = field(default_factory=App)
    problems: list[Finding] = field(default_factory=list)
    unreadable_settings: frozenset[str] = frozenset()
    """Names of the settings that cannot be read."""
    packages: tuple[str, ...] = ()
    """Modules with actors to import; if empty, the actors that workers have declared are used."""
    processes: int = 1
    threads: int = 8
    """Threads per process of a `dramatiq` master on this host."""
    consumed_queues: tuple[str, ...] = ()
    """Queues that workers on this host consume; empty for all."""
    stop_within: timedelta | None = None
    """How long systemd or Kubernetes waits after SIGTERM before it kills a worker."""

    @property
    def urls(self) -> list[str]:
        """The URLs of the RabbitMQ servers."""
        return [url.strip() for url in self.settings.broker_url.get_secret_value().split(";")]

    @property
    def user(self) -> str:
        """The user that logs in to RabbitMQ."""
        return amqp.url_user(self.urls[0])

    @property
    def vhost(self) -> str:
        """The virtual host."""
        return amqp.url_vhost(self.urls[0])

    @property
    def prefix(self) -> str:
        """Prefix of the queue names on RabbitMQ."""
        return self.settings.queue_prefix

    @property
    def queues(self) -> list[Queue]:
        """The queues that imported modules use or declare, or else those that workers use."""
        if self.problems:  # then no broker can be built
            return list(weigh_queues(self.app.queues, "", self.prefix).values())
        broker = build.get_broker()
        if self.packages:
            return list((broker.used_queues() or broker.declared_queues).values())
        used = self.used_queues
        return [one for one in broker.declared_queues.values() if used is None or one.name in used]

    @property
    def foreign_queues(self) -> list[str]:
        """Queues that workers use but no module here declares; only their names are known."""
        known = {queue.name for queue in self.queues}
        return sorted((self.used_queues or set()) - known)

    @property
    def used_queues(self) -> set[str] | None:
        """The queues of the actors that workers have declared; `None` if those do not matter."""
        if self.packages or not self.declared_actors:
            return None
        return {actor.queue for actor in self.declared_actors}

    @cached_property
    def declared_actors(self) -> list[KnownActor]:
        """The actors that workers have declared; none if the database does not answer."""
        try:
            with self.connect() as conn:
                return queues.list_actors(conn)
        except psycopg.Error:
            return []

    @property
    def database_address(self) -> str:
        """The address of PostgreSQL, without the password."""
        return db.describe_address(self.settings.database_url.get_secret_value())

    def connect(self) -> Connection:
        """Open a connection; each check has its own."""
        url = self.settings.database_url.get_secret_value()
        options = {**db.CONNECT_OPTIONS, "connect_timeout": CONNECT_S}
        conn = InterruptibleConnection.connect(url, autocommit=True, **options)
        conn.detect_pooler()
        if not conn.is_pooled:  # else it would also limit the next client of that session
            conn.execute(f"SET statement_timeout = {QUERY_MS}")
        return conn

    def management(self) -> ManagementApi | None:
        """Return the management API, if it is configured."""
        url = self.settings.management_url
        if url is None:
            return None
        return ManagementApi(url.get_secret_value(), self.vhost, prefix=self.prefix)

    def query_management(self, question: Callable[[ManagementApi], T]) -> T | None:
        """Ask the management API; `None` without one, or if it fails (see its own check)."""
        api = self.management()
        try:
            return None if api is None else question(api)
        except ManagementError:
            return None
