"""The names that shell completion offers."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from workshed import db
from workshed.console.operations.environment import import_actors, require_broker
from workshed.database.postgres import Connection
from workshed.jobs.control import queues, workers
from workshed.jobs.periodic import periodic_jobs
from workshed.settings import settings

LIST_ROWS: Mapping[str, Callable[[Connection], Iterable[Any]]] = {
    "actors": queues.list_actors,
    "queues": queues.list_queues,
    "workers": workers.list_workers,
    "periodic jobs": periodic_jobs.list_periodic_jobs,
}
CONNECT_S = 2
"""Longest wait for PostgreSQL at a prompt, in whole seconds."""


def query_names(kind: str) -> list[str]:
    """Return the names of all actors, queues, workers or periodic jobs, if PostgreSQL answers."""
    url = settings().database_url.get_secret_value()
    options = {**db.CONNECT_OPTIONS, "connect_timeout": CONNECT_S}
    with db.Connection.connect(url, **options) as conn:
        return [row.name for row in LIST_ROWS[kind](conn)]


def list_declared_queues() -> Iterable[str]:
    """Return the queues of this program."""
    return require_broker().declared_queues


def list_package_actors(packages: Iterable[str]) -> Iterable[str]:
    """Return the actors that `enqueue` can send: import the packages as it does."""
    import_actors(packages)
    return require_broker().actors
