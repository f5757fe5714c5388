"""Scheduled: waiting jobs; run, move or cancel them."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import typer

from workshed.console import formatting
from workshed.console.operations import scheduled
from workshed.console.operations.cancel import CANCEL_STORED
from workshed.console.operations.message_body import body_as_call, body_as_json
from workshed.console.operations.redaction import redact_rows
from workshed.console.web.auth.csrf import ActionForm
from workshed.console.web.view import cursor, known_names, name_filters
from workshed.console.web.view.name_filters import NameSources
from workshed.console.web.view.page import (
    MOST_COUNTED,
    ROWS,
    Action,
    ActionRequest,
    ActionResult,
    BadQueryError,
    Page,
    PageRequest,
)
from workshed.console.web.view.selection import create_action, run_operation
from workshed.database.postgres import database_now
from workshed.jobs.outbox import schedule
from workshed.jobs.outbox.schedule import ScheduledJob

PATH = "/scheduled"
NAMES: NameSources = {"actor": known_names.list_actor_names}


def load_scheduled(ask: PageRequest) -> Mapping[str, Any]:
    """Show waiting jobs, the next due first."""
    actor, queue = name_filters.matched_names(ask, "actor", NAMES), ask.text("queue")
    after = cursor.decode_cursor(ask, datetime, str, int)
    found = schedule.list_scheduled(ask.conn, actor=actor, queue=queue, after=after, limit=ROWS + 1)
    shown, later = found[:ROWS], None
    if len(found) > ROWS:
        last = shown[-1]
        later = cursor.encode_cursor(last.due_at, last.message_id, last.generation)
    count = len(found)
    if after is not None or later is not None:
        count = schedule.count_scheduled(
            ask.conn, actor=actor, queue=queue, at_most=MOST_COUNTED + 1
        )
    return {
        "jobs": [_row(one) for one in redact_rows(ask.conn, shown)],
        "count": count,
        "later": later,
    }


def load_scheduled_form(ask: PageRequest) -> Mapping[str, Any]:
    """Return the names to suggest, and notes about what the filters match."""
    return name_filters.describe_fields(ask, NAMES) | {
        "queues": known_names.list_queue_names(ask.conn)
    }


def move_scheduled(deed: ActionRequest) -> ActionResult:
    """Change the due time of jobs."""
    to = _new_due_time(deed.form, database_now(deed.conn))
    return run_operation(deed, scheduled.move_to(to), "id", PATH)


def _row(row: ScheduledJob) -> dict[str, Any]:
    """Return the row of a job."""
    is_on_its_way = row.taken or row.reason == "outbox_lease"
    return {
        **asdict(row),
        **body_as_json(row.body),
        "call": body_as_call(row.actor, row.body),
        "why": scheduled.REASONS.get(row.reason, row.reason),
        "state": "on its way" if is_on_its_way else "scheduled",
    }


def _new_due_time(form: ActionForm, now: datetime) -> datetime:
    """Return the new due time; raises `BadQueryError`."""
    at, within = form.one("at"), form.one("in")
    if bool(at) == bool(within):
        raise BadQueryError("Give either a span such as 2h, or a time.")
    try:
        to = _parse_time(at) if at else now + formatting.parse_duration(within)
        return to.astimezone(UTC)
    except (typer.BadParameter, OverflowError) as err:
        raise BadQueryError(str(err)) from None


def _parse_time(text: str) -> datetime:
    """Parse a time; without a time zone, as browsers send it, it is in UTC."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is not None and found.tzinfo is None:
        return found.replace(tzinfo=UTC)
    return formatting.parse_time(text)


PAGES: tuple[Page, ...] = (
    Page(
        PATH,
        "Scheduled",
        "scheduled.html",
        load_scheduled,
        group="Jobs",
        load_form=load_scheduled_form,
    ),
)
ACTIONS: tuple[Action, ...] = (
    create_action("/scheduled/run", scheduled.RUN, "id", PATH),
    Action("/scheduled/move", "scheduled.move", move_scheduled),
    create_action("/scheduled/cancel", CANCEL_STORED, "id", PATH),
)
