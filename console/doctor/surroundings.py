"""Where the doctor looks: the environment as far as it can be read, and what it leads to."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

from brokers import build
from brokers.queues import QUEUES, Queue, weighted
from console import amqp
from console.errors import ManagementError
from console.finding import Finding
from console.management import Management
from workshed import db
from workshed.db import Connection, WatchedConnection
from workshed.settings import Settings

QUERY_MS = 4_000
"""Below the deadline of a check, so that PostgreSQL's own words are shown."""
CONNECT_S = 4

T = TypeVar("T")


@dataclass(frozen=True)
class Surroundings:
    """The settings, with the default in place of each that cannot be read."""

    settings: Settings
    problems: list[Finding] = field(default_factory=list)
    unreadable: frozenset[str] = frozenset()
    """Names of the settings that cannot be read."""
    packages: tuple[str, ...] = ("actors",)
    processes: int = 1
    threads: int = 8
    """Of a `dramatiq` master on this host."""
    consumed: tuple[str, ...] = ()
    """Queues of the workers on this host; none named are all."""
    stop_within: timedelta | None = None
    """How long systemd, Kubernetes or the like waits after SIGTERM before it kills a worker."""

    @property
    def urls(self) -> list[str]:
        """The servers of RabbitMQ."""
        return [url.strip() for url in self.settings.broker_url.get_secret_value().split(";")]

    @property
    def user(self) -> str:
        """Who logs in there."""
        return amqp.user(self.urls[0])

    @property
    def vhost(self) -> str:
        """The virtual host."""
        return amqp.vhost(self.urls[0])

    @property
    def prefix(self) -> str:
        """What stands before the names of queues on RabbitMQ."""
        return self.settings.queue_prefix

    @property
    def queues(self) -> list[Queue]:
        """The queues of the imported actors, and those that they declare; without any, all."""
        if self.problems:  # no broker can be built then
            return list(weighted(QUEUES, "", self.prefix).values())
        broker = build.broker()
        return list((broker.used_queues() or broker.declared).values())

    @property
    def database(self) -> str:
        """Where PostgreSQL is, without the password."""
        return db.address(self.settings.database_url.get_secret_value())

    def connect(self) -> Connection:
        """Open a connection; each check has its own."""
        url = self.settings.database_url.get_secret_value()
        options = {**db.OPTIONS, "connect_timeout": CONNECT_S}
        conn = WatchedConnection.connect(url, autocommit=True, **options)
        conn.look_for_pooler()
        if not conn.is_pooled:  # or it would end statements of whoever has that session next
            conn.execute(f"SET statement_timeout = {QUERY_MS}")
        return conn

    def management(self) -> Management | None:
        """Return the management API, where the environment names it."""
        url = self.settings.management_url
        if url is None:
            return None
        return Management(url.get_secret_value(), self.vhost, prefix=self.prefix)

    def ask(self, question: Callable[[Management], T]) -> T | None:
        """Ask the management API; `None` without one, or if it refuses (its own check tells)."""
        api = self.management()
        try:
            return None if api is None else question(api)
        except ManagementError:
            return None
