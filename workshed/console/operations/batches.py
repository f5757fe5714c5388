"""Find, show and cancel batches."""

from dataclasses import asdict
from uuid import UUID

from workshed.console.errors import NotFoundError
from workshed.database.postgres import Connection
from workshed.errors import WorkshedError
from workshed.jobs.batches import batches, progress
from workshed.jobs.batches.progress import BatchProgress


def require_batch(conn: Connection, batch: str) -> BatchProgress:
    """Return a batch; raises `NotFoundError`, also if `batch` is not a UUID."""
    try:
        found = progress.get_progress(conn, str(UUID(batch)))
    except ValueError:
        found = None
    if found is None:
        raise NotFoundError(f"no batch has the id {batch!r}; see `workshed batches`")
    return found


def cancel_batch(conn: Connection, batch: BatchProgress) -> None:
    """Cancel a batch, so that none of its jobs starts; rows of waiting jobs are deleted later.

    Raises `WorkshedError` if all jobs have ended.
    """
    refuse_ended(batch)
    if conn.execute(*batches.cancel_statement(batch.id)).fetchone() != ("true",):
        refuse_ended(require_batch(conn, batch.id))


def refuse_ended(batch: BatchProgress) -> None:
    """Raise `WorkshedError` if no job of a batch is left to cancel."""
    if batch.completed_at is not None and not batch.pending:
        raise WorkshedError(f"all jobs of batch {batch.id} have ended")


def as_data(batch: BatchProgress) -> dict[str, object]:
    """Return a batch for JSON output."""
    return asdict(batch) | {"state": batch.state, "total": batch.total, "ended": batch.ended}
