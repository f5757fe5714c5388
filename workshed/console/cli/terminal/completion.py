"""What a shell offers for half a word: the names of actors, queues, workers and periodic jobs.

`workshed --install-completion` sets it up. Whatever goes wrong, nothing is offered and nothing is
printed: the line that somebody types is no place for it.
"""

import contextlib
import io
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from workshed.db import Connection

CONNECT_S = 2
"""Whole seconds for which somebody at a prompt waits for PostgreSQL."""


def actors(incomplete: str) -> list[str]:
    """Name the actors that any worker has declared."""
    from workshed.jobs.control import queues as rows

    return offered(incomplete, stored(lambda conn: (one.name for one in rows.find_actors(conn))))


def imported_actors(context: typer.Context, incomplete: str) -> list[str]:
    """Name the actors of the packages that `--import` names before, or of the App."""
    return offered(incomplete, quietly(lambda: of_packages(context.params.get("packages"))))


def queues(incomplete: str) -> list[str]:
    """Name the queues that are declared here, and those that any worker has declared."""
    from workshed.jobs.control import queues as rows

    known = stored(lambda conn: (one.name for one in rows.list_queues(conn)))
    return offered(incomplete, [*quietly(declared), *known])


def workers(incomplete: str) -> list[str]:
    """Name the worker processes, by host and pid."""
    from workshed.jobs.control import workers as rows

    return offered(incomplete, stored(lambda conn: (one.name for one in rows.list_workers(conn))))


def periodic(incomplete: str) -> list[str]:
    """Name the jobs that run by the calendar."""
    from workshed.jobs.periodic import periodic_jobs as rows

    return offered(
        incomplete, stored(lambda conn: (one.name for one in rows.list_periodic_jobs(conn)))
    )


def offered(incomplete: str, names: Iterable[str]) -> list[str]:
    """Return the names that begin so, each once."""
    return sorted({name for name in names if name.startswith(incomplete)})


def stored(names: "Callable[[Connection], Iterable[str]]") -> list[str]:
    """Ask PostgreSQL."""

    def found() -> list[str]:
        from workshed import db
        from workshed.settings import settings

        url = settings().database_url.get_secret_value()
        options = {**db.OPTIONS, "connect_timeout": CONNECT_S}
        with db.Connection.connect(url, **options) as conn:
            return list(names(conn))

    return quietly(found)


def declared() -> Iterable[str]:
    """Name the queues of this program."""
    from workshed.console.operations.environment import require_rabbitmq

    return require_rabbitmq().declared


def of_packages(packages: list[str] | None) -> Iterable[str]:
    """Import the actors as `enqueue` does; it sends no others."""
    from workshed.console.operations.environment import import_actors, require_rabbitmq

    import_actors(packages or ())
    return require_rabbitmq().actors


def quietly(names: Callable[[], Iterable[str]]) -> list[str]:
    """Return the names; none where that fails, whatever it prints."""
    nowhere = io.StringIO()
    with (
        contextlib.suppress(Exception),
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        return list(names())
    return []
