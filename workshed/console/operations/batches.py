"""Find, show and cancel batches."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from uuid import UUID

from workshed.console.errors import NotFoundError
from workshed.console.formatting import format_job_count
from workshed.console.operations.operation import Operation, Preview
from workshed.database.postgres import Connection
from workshed.errors import WorkshedError
from workshed.jobs.batches import batches, progress
from workshed.jobs.batches.progress import BatchProgress

NONE_DEAD = "None of its jobs are dead."


def require_batch(conn: Connection, batch: str) -> BatchProgress:
    """Return a batch; raises `NotFoundError`, also if `batch` is not a UUID."""
    try:
        found = progress.get_progress(conn, str(UUID(batch)))
    except ValueError:
        found = None
    if found is None:
        raise NotFoundError(f"no batch has the id {batch!r}; see `workshed batches`")
    return found


def as_data(batch: BatchProgress) -> dict[str, object]:
    """Return a batch for JSON output."""
    return asdict(batch) | {"state": batch.state, "total": batch.total, "ended": batch.ended}


def _find_unfinished(conn: Connection, ids: Sequence[str]) -> dict[str, BatchProgress]:
    found = [require_batch(conn, batch) for batch in ids]
    for batch in found:
        _refuse_ended(batch)
    return {batch.id: batch for batch in found}


def _refuse_ended(batch: BatchProgress) -> None:
    if batch.completed_at is not None and not batch.pending:
        raise WorkshedError(f"all jobs of batch {batch.id} have ended")


def _preview_cancel(_: Connection, found: Mapping[str, BatchProgress]) -> Preview:
    [batch] = found.values()
    return Preview(
        batch.pending or 1,
        "Waiting jobs are deleted, running jobs are asked to stop. on_success is then never sent.",
        f"batch {batch.id} with {format_job_count(batch.pending)} that have not ended",
    )


def _cancel_batch(conn: Connection, batch: BatchProgress) -> str:
    """Cancel a batch, so that none of its jobs starts; rows of waiting jobs are deleted later."""
    if conn.execute(*batches.cancel_statement(batch.id)).fetchone() != ("true",):
        _refuse_ended(require_batch(conn, batch.id))
    if batch.cancelled_at is not None:
        return "was cancelled"
    return f"cancelled; {format_job_count(batch.pending)} had not ended"


CANCEL = Operation(
    "batches.cancel",
    "batch",
    _find_unfinished,
    _cancel_batch,
    changed={"cancelled": "Waiting jobs are deleted, and running jobs are asked to stop."},
    unchanged=("was cancelled",),
    verb="Cancel",
    past="cancelled",
    preview=_preview_cancel,
    measure=lambda batch: batch.pending or 1,  # a batch without jobs yet counts as one
)
