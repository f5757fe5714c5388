"""Dead: jobs that failed permanently, by error and place; retry or discard them."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from workshed.console.operations.dead_jobs import as_data, death_reason
from workshed.console.operations.message_body import body_as_call
from workshed.console.operations.redaction import redact_rows
from workshed.console.web.pages.dead_actions import discard_dead, retry_dead
from workshed.console.web.view import known_names, name_filters
from workshed.console.web.view.name_filters import NameSources
from workshed.console.web.view.page import (
    MOST_COUNTED,
    ROWS,
    Action,
    BadQueryError,
    Page,
    PageRequest,
)
from workshed.database.postgres import Connection
from workshed.jobs.dead import dead_jobs
from workshed.jobs.dead import groups as dead_groups
from workshed.jobs.dead.dead_jobs import DeadFilter, DeadJob
from workshed.jobs.dead.groups import DeadGroup

NO_VALUE = "-"
"""The filter value for jobs that have no error, actor or place."""
SEPARATOR = "~"
"""Separates the two parts of `before`; it never occurs in a time."""


def load_dead(ask: PageRequest) -> Mapping[str, Any]:
    """Show the groups and the latest jobs; later pages of jobs show no groups."""
    which = DeadFilter(
        queue=name_filters.matched_names(ask, "queue", NAMES),
        actor=name_filters.matched_names(ask, "actor", NAMES),
        error=name_filters.matched_names(ask, "error", NAMES),
        since=ask.duration("since"),
        error_location=ask.text("error_location"),
    )
    before = _decode_position(ask)
    groups = [] if before else dead_groups.list_groups(ask.conn, which, limit=ROWS + 1)
    count, is_counted = _count_jobs(ask.conn, which, groups)
    found = (
        dead_jobs.list_dead_jobs(ask.conn, which, before=before, limit=ROWS + 1) if count else []
    )
    return {
        "count": count,
        "is_counted": is_counted,
        "groups": [{**asdict(group), "query": _group_query(ask, group)} for group in groups[:ROWS]],
        "has_more_groups": len(groups) > ROWS,
        "jobs": [
            {
                **as_data(row),
                "call": body_as_call(row.actor, row.body),
                "error": death_reason(row),
            }
            for row in redact_rows(ask.conn, found[:ROWS])
        ],
        "older": _encode_position(found[ROWS - 1]) if len(found) > ROWS else None,
    }


def load_dead_form(ask: PageRequest) -> Mapping[str, Any]:
    """Return the names to suggest, and notes about what the filters match."""
    return name_filters.describe_fields(ask, NAMES)


def _list_actors(conn: Connection) -> list[str]:
    return [*known_names.list_actor_names(conn), NO_VALUE]


def _list_error_classes(conn: Connection) -> list[str]:
    return [*dead_groups.list_classes(conn, name_filters.MOST_SUGGESTED), NO_VALUE]


NAMES: NameSources = {
    "error": _list_error_classes,
    "actor": _list_actors,
    "queue": known_names.list_queue_names,
}


def _count_jobs(
    conn: Connection, dead_filter: DeadFilter, groups: list[DeadGroup]
) -> tuple[int, bool]:
    """Return the number of dead jobs, and whether it is exact."""
    if groups and len(groups) <= ROWS:
        return sum(group.count for group in groups), True
    count = dead_jobs.count_at_most(conn, dead_filter, most=MOST_COUNTED + 1)
    return min(count, MOST_COUNTED), count <= MOST_COUNTED


def _group_query(ask: PageRequest, group: DeadGroup) -> dict[str, str]:
    """Return the filters that select exactly this group among those shown."""
    shown = {"since": ask.query["since"]} if "since" in ask.query else {}
    queue = name_filters.match_field(ask, "queue", NAMES)
    if queue is not None:
        # A button takes names exactly, unless it is asked for all that begin so.
        is_exact = queue.begins is None or not queue.is_known
        shown["queue"] = queue.text if is_exact else f"{queue.begins}{known_names.ALL}"
    return shown | {
        "error": group.error_class or NO_VALUE,
        "actor": group.actor or NO_VALUE,
        "error_location": group.error_location or NO_VALUE,
    }


def _encode_position(row: DeadJob) -> str:
    return f"{row.died_at.isoformat()}{SEPARATOR}{row.message_id}"


def _decode_position(ask: PageRequest) -> tuple[datetime, str] | None:
    text = ask.text("before")
    if text is None:
        return None
    at, sign, message_id = text.partition(SEPARATOR)
    try:
        found = datetime.fromisoformat(at)
    except ValueError:
        found = None
    if not sign or found is None or found.tzinfo is None:
        raise BadQueryError(f"{text!r} is not a position in this list", "before")
    return found, message_id


PAGES: tuple[Page, ...] = (
    Page(
        "/dead",
        "Dead",
        "dead.html",
        load_dead,
        group="Jobs",
        is_live=True,
        load_form=load_dead_form,
    ),
)
ACTIONS: tuple[Action, ...] = (
    Action("/dead/retry", "dead.retry", retry_dead),
    Action("/dead/discard", "dead.discard", discard_dead),
)
