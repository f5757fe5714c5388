"""Shell completion for the names of actors, queues, workers and periodic jobs.

`workshed --install-completion` sets it up. On any error it offers and prints nothing, because
output would garble the line that the user is typing.
"""

import contextlib
import io
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from workshed.db import Connection

CONNECT_S = 2
"""Longest wait for PostgreSQL at a prompt, in whole seconds."""


def complete_actors(incomplete: str) -> list[str]:
    """Return the actors that any worker has declared."""
    from workshed.jobs.control import queues as rows

    return match_prefix(
        incomplete, query_names(lambda conn: (one.name for one in rows.list_actors(conn)))
    )


def complete_imported_actors(context: typer.Context, incomplete: str) -> list[str]:
    """Return the actors of the packages given by `--import` before, or those of the App."""
    return match_prefix(
        incomplete, run_silently(lambda: list_package_actors(context.params.get("packages")))
    )


def complete_queues(incomplete: str) -> list[str]:
    """Return the queues declared here, and those that any worker has declared."""
    from workshed.jobs.control import queues as rows

    known = query_names(lambda conn: (one.name for one in rows.list_queues(conn)))
    return match_prefix(incomplete, [*run_silently(list_declared_queues), *known])


def complete_workers(incomplete: str) -> list[str]:
    """Return the worker processes, as HOST:PID."""
    from workshed.jobs.control import workers as rows

    return match_prefix(
        incomplete, query_names(lambda conn: (one.name for one in rows.list_workers(conn)))
    )


def complete_periodic(incomplete: str) -> list[str]:
    """Return the periodic jobs."""
    from workshed.jobs.periodic import periodic_jobs as rows

    return match_prefix(
        incomplete, query_names(lambda conn: (one.name for one in rows.list_periodic_jobs(conn)))
    )


def match_prefix(incomplete: str, names: Iterable[str]) -> list[str]:
    """Return the names that start with `incomplete`, sorted, without duplicates."""
    return sorted({name for name in names if name.startswith(incomplete)})


def query_names(names: "Callable[[Connection], Iterable[str]]") -> list[str]:
    """Return names from PostgreSQL."""

    def found() -> list[str]:
        from workshed import db
        from workshed.settings import settings

        url = settings().database_url.get_secret_value()
        options = {**db.CONNECT_OPTIONS, "connect_timeout": CONNECT_S}
        with db.Connection.connect(url, **options) as conn:
            return list(names(conn))

    return run_silently(found)


def list_declared_queues() -> Iterable[str]:
    """Return the queues of this program."""
    from workshed.console.operations.environment import require_rabbitmq

    return require_rabbitmq().declared_queues


def list_package_actors(packages: list[str] | None) -> Iterable[str]:
    """Return the actors that `enqueue` can send: import the packages as it does."""
    from workshed.console.operations.environment import import_actors, require_rabbitmq

    import_actors(packages or ())
    return require_rabbitmq().actors


def run_silently(names: Callable[[], Iterable[str]]) -> list[str]:
    """Return the names, or none if that fails; suppress all output."""
    nowhere = io.StringIO()
    with (
        contextlib.suppress(Exception),
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        return list(names())
    return []
