"""Batches as commands and pages show them, and what is done with them."""

from dataclasses import asdict
from uuid import UUID

from workshed.console.errors import NotFoundError
from workshed.db import Connection
from workshed.errors import WorkshedError
from workshed.jobs.batches import batches, progress
from workshed.jobs.batches.progress import BatchProgress


def require_batch(conn: Connection, batch: str) -> BatchProgress:
    """Return a batch; raises `NotFoundError`, also for what is no id."""
    try:
        found = progress.get_progress(conn, str(UUID(batch)))
    except ValueError:
        found = None
    if found is None:
        raise NotFoundError(f"there is no batch with the id {batch!r}; see `workshed batches`")
    return found


def cancel_batch(conn: Connection, batch: BatchProgress) -> None:
    """Let no job of a batch start any more; those that wait keep their rows for a moment.

    Raises `WorkshedError` where all have ended.
    """
    refuse_ended(batch)
    if conn.execute(*batches.cancel_statement(batch.id)).fetchone() != ("true",):
        refuse_ended(require_batch(conn, batch.id))


def refuse_ended(batch: BatchProgress) -> None:
    """Raise `WorkshedError` where nothing of a batch is left to be cancelled."""
    if batch.completed_at is not None and not batch.pending:
        raise WorkshedError(f"all jobs of batch {batch.id} have ended")


def as_data(batch: BatchProgress) -> dict[str, object]:
    """Return a batch as programs read it."""
    return asdict(batch) | {"state": batch.state, "total": batch.total, "ended": batch.ended}
