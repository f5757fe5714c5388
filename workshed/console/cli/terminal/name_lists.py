"""The names that shell completion offers."""

from collections.abc import Callable, Iterable
from typing import Any

from workshed import db
from workshed.console.operations.environment import import_actors, require_rabbitmq
from workshed.database.postgres import Connection
from workshed.jobs.control import queues, workers
from workshed.jobs.periodic import periodic_jobs
from workshed.settings import settings

__all__ = [
    "list_declared_queues",
    "list_package_actors",
    "periodic_jobs",
    "query_names",
    "queues",
    "workers",
]

CONNECT_S = 2
"""Longest wait for PostgreSQL at a prompt, in whole seconds."""


def query_names(list_rows: Callable[[Connection], Iterable[Any]]) -> list[str]:
    """Return the names of rows in PostgreSQL, if it answers soon."""
    url = settings().database_url.get_secret_value()
    options = {**db.CONNECT_OPTIONS, "connect_timeout": CONNECT_S}
    with db.Connection.connect(url, **options) as conn:
        return [row.name for row in list_rows(conn)]


def list_declared_queues() -> Iterable[str]:
    """Return the queues of this program."""
    return require_rabbitmq().declared_queues


def list_package_actors(packages: Iterable[str]) -> Iterable[str]:
    """Return the actors that `enqueue` can send: import the packages as it does."""
    import_actors(packages)
    return require_rabbitmq().actors
