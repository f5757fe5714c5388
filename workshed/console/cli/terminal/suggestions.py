"""Hints for a filter that matches nothing: with a misspelt name, that would look like good news."""

import contextlib
from collections.abc import Iterable

from workshed.console.cli.terminal.output import print_message
from workshed.console.operations.environment import list_queue_names
from workshed.database.postgres import Connection
from workshed.errors import SettingsError
from workshed.jobs.control import queues as rows
from workshed.jobs.dead import dead_jobs, groups
from workshed.jobs.names import Names, to_name_array
from workshed.transport.errors import did_you_mean

UNKNOWN_TEXTS = {"error": "No dead job has the error", "error_location": "No dead job failed at"}
MOST_LOCATIONS = 1_000
"""Error locations that are searched for a similar one."""


def warn_unknown_filter(
    conn: Connection,
    *,
    actor: Names = None,
    queue: Names = None,
    error: Names = None,
    error_location: str | None = None,
) -> None:
    """Print each name of a filter that is unknown, and a similar one that is known."""
    if actor is not None:
        warn_unknown_name("actor", actor, (one.name for one in rows.list_actors(conn)))
    if queue is not None:
        with contextlib.suppress(SettingsError):  # stub:// declares no queues
            warn_unknown_name("queue", queue, list_queue_names(conn))
    if error is not None:
        warn_unknown_name(
            "error", error, (one.error_class or "-" for one in dead_jobs.group_by_error(conn))
        )
    if error_location is not None:
        known = groups.list_groups(conn, limit=MOST_LOCATIONS)
        warn_unknown_name(
            "error_location", error_location, (one.error_location or "-" for one in known)
        )


def warn_unknown_name(kind: str, requested: Names, known: Iterable[str]) -> None:
    """Print the hint for each name that is not known."""
    names = list(known)
    for name in to_name_array(requested) or ():
        if name not in names:
            what = UNKNOWN_TEXTS.get(kind, f"No worker has declared the {kind}")
            print_message(f"{what} {name!r}{did_you_mean(name, names)}.")
