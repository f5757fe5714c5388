"""Batches: their progress and their jobs; retry the dead jobs of a batch, or cancel it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, get_args
from uuid import UUID

from workshed.console.formatting import format_job_count
from workshed.console.operations.batches import as_data, refuse_ended, require_batch
from workshed.console.operations.batches import cancel_batch as let_none_start
from workshed.console.web.view import cursor
from workshed.console.web.view.page import (
    ROWS,
    Action,
    ActionRequest,
    ActionResult,
    BadQueryError,
    Page,
    PageRequest,
)
from workshed.console.web.view.selection import apply_each, describe_results
from workshed.console.web.view.templates import format_query
from workshed.database.postgres import Connection
from workshed.jobs.batches import progress
from workshed.jobs.batches.progress import BatchJobState, BatchProgress
from workshed.jobs.dead import dead_jobs
from workshed.transport.messages.envelope import decode_message

PATH, ONE = "/batches", "/batch"
MOST_COUNTED = 1_000
"""Jobs counted per state of a batch in the list; the page of a batch counts all."""
MOST_PER_CLICK = 5_000
"""Jobs retried per click."""


def load_batches(ask: PageRequest) -> Mapping[str, Any]:
    """Show the latest batches."""
    before = cursor.decode_cursor(ask, datetime, UUID)
    found = progress.list_batches(
        ask.conn,
        unfinished=ask.text("unfinished") is not None,
        before=None if before is None else (before[0], before[1]),
        counted=MOST_COUNTED + 1,
        limit=ROWS + 1,
    )
    shown, older = found[:ROWS], None
    if len(found) > ROWS:
        older = cursor.encode_cursor(shown[-1].created_at, shown[-1].id)
    return {"batches": [_row(one) for one in shown], "older": older}


def load_batch(ask: PageRequest) -> Mapping[str, Any]:
    """Show the progress of a batch, its callbacks, and its jobs."""
    batch = require_batch(ask.conn, ask.text("id") or "")
    state, states = ask.text("state"), get_args(BatchJobState)
    if state not in (None, *states):
        raise BadQueryError(f"{state!r} must be one of {', '.join(states)}", "state")
    after = cursor.decode_cursor(ask, str, str)
    found = progress.list_batch_jobs(
        ask.conn,
        batch.id,
        state=state,
        after=None if after is None else (after[0], after[1]),
        limit=ROWS + 1,
    )
    shown, more = found[:ROWS], None
    if len(found) > ROWS:
        more = cursor.encode_cursor(shown[-1].state, shown[-1].message_id)
    return {
        "batch": as_data(batch),
        "callbacks": progress.list_callbacks(ask.conn, batch.id),
        "jobs": shown,
        "more": more,
    }


def retry_batch(deed: ActionRequest) -> ActionResult:
    """Retry the dead jobs of a batch, after confirmation."""
    batch = require_batch(deed.conn, deed.form.one("id"))
    back, about = ONE + format_query({"id": batch.id}), {"batch": batch.id}
    ids = progress.list_dead_ids(deed.conn, batch.id, MOST_PER_CLICK)
    left = (
        f" {batch.dead - len(ids)} more remain for another click."
        if batch.dead > MOST_PER_CLICK
        else ""
    )
    if not ids:
        return ActionResult("None of its jobs are dead.", 0, about, back)
    if not deed.form.has("sure"):
        said = f"This would retry {format_job_count(len(ids))} of batch {batch.id}.{left}"
        asks = [("id", batch.id), ("sure", "yes")]
        return ActionResult(
            said, len(ids), about, back, asks, f"Retry {format_job_count(len(ids))}"
        )
    fates = apply_each(ids, lambda one: _retry_dead_job(deed.conn, one))
    return ActionResult(f"{describe_results(fates)}.{left}", fates.get("retried", 0), about, back)


def cancel_batch_action(deed: ActionRequest) -> ActionResult:
    """Cancel a batch, after confirmation; a relay deletes its waiting jobs."""
    batch = require_batch(deed.conn, deed.form.one("id"))
    back, about = ONE + format_query({"id": batch.id}), {"batch": batch.id}
    open_jobs = format_job_count(batch.pending)
    refuse_ended(batch)
    if not deed.form.has("sure"):
        said = (
            f"This would cancel batch {batch.id} with {open_jobs} that have not ended: waiting "
            "jobs are deleted, running jobs are asked to stop. on_success is then never sent."
        )
        asks = [("id", batch.id), ("sure", "yes")]
        return ActionResult(said, batch.pending, about, back, asks, "Cancel the batch")
    let_none_start(deed.conn, batch)
    said = (
        f"Batch cancelled; {open_jobs} had not ended. A relay deletes waiting jobs, "
        "and running jobs are asked to stop."
    )
    return ActionResult(said, batch.pending, about, back)


def _row(batch: BatchProgress) -> dict[str, Any]:
    counts = (batch.pending, batch.succeeded, batch.discarded, batch.cancelled, batch.dead)
    return as_data(batch) | {"is_counted": max(counts) <= MOST_COUNTED}


def _retry_dead_job(conn: Connection, message_id: str) -> str:
    try:
        return (
            "retried" if dead_jobs.retry_job(conn, message_id, decode_message) else "no longer dead"
        )
    except dead_jobs.UnreadableJobError:
        return "unreadable and still dead"


PAGES: tuple[Page, ...] = (
    Page(PATH, "Batches", "batches.html", load_batches, group="Tools", is_live=True),
    Page(ONE, "Batch", "batch.html", load_batch, is_live=True),
)
ACTIONS: tuple[Action, ...] = (
    Action("/batches/retry", "batches.retry", retry_batch),
    Action("/batches/cancel", "batches.cancel", cancel_batch_action),
)
