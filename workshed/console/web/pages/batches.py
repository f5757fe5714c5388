"""Batches: their progress and their jobs; retry the dead jobs of a batch, or cancel it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, get_args
from uuid import UUID

from workshed.console.operations.batches import CANCEL, NONE_DEAD, as_data, require_batch
from workshed.console.operations.dead_jobs import RETRY_BATCH
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
from workshed.console.web.view.selection import confirm_and_run
from workshed.console.web.view.templates import format_query
from workshed.jobs.batches import progress
from workshed.jobs.batches.progress import BatchJobState, BatchProgress

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
    back, details = ONE + format_query({"id": batch.id}), {"batch": batch.id}
    ids = progress.list_dead_ids(deed.conn, batch.id, MOST_PER_CLICK)
    if not ids:
        return ActionResult(NONE_DEAD, 0, details, back)
    left = batch.dead - len(ids)
    return confirm_and_run(
        deed, RETRY_BATCH, ids, back, [("id", batch.id)], details=details, remaining=left
    )


def cancel_batch(deed: ActionRequest) -> ActionResult:
    """Cancel a batch, after confirmation; a relay deletes its waiting jobs."""
    batch = require_batch(deed.conn, deed.form.one("id")).id
    back = ONE + format_query({"id": batch})
    return confirm_and_run(deed, CANCEL, [batch], back, [("id", batch)], details={"batch": batch})


def _row(batch: BatchProgress) -> dict[str, Any]:
    counts = (batch.pending, batch.succeeded, batch.discarded, batch.cancelled, batch.dead)
    return as_data(batch) | {"is_counted": max(counts) <= MOST_COUNTED}


PAGES: tuple[Page, ...] = (
    Page(PATH, "Batches", "batches.html", load_batches, group="Tools", is_live=True),
    Page(ONE, "Batch", "batch.html", load_batch, is_live=True),
)
ACTIONS: tuple[Action, ...] = (
    Action("/batches/retry", "batches.retry", retry_batch),
    Action("/batches/cancel", "batches.cancel", cancel_batch),
)
