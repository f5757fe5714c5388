"""`workshed dead retry` and `workshed dead discard`."""

from typing import Annotated

import typer

from workshed.console.cli.jobs.dead_bulk import BulkSelection, run_selected
from workshed.console.cli.terminal.audit import describe_user
from workshed.console.cli.terminal.options import (
    ActorName,
    All,
    DryRun,
    ErrorName,
    Json,
    LocationName,
    MaybeIds,
    QueueName,
    Since,
    Yes,
)
from workshed.console.operations import dead_jobs
from workshed.jobs.dead.dead_jobs import DeadFilter


def retry(  # noqa: PLR0913 -- an option each
    ids: MaybeIds = None,
    *,
    every: All = False,
    queue: QueueName = None,
    actor: ActorName = None,
    error: ErrorName = None,
    error_location: LocationName = None,
    since: Since = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Retry dead jobs from attempt 1, by id or --all that match the filters.

    Jobs that cannot be read stay dead (exit code 1). Jobs that only an older
    worker could not read are retried.
    """
    chosen = BulkSelection(ids or [], DeadFilter(queue, actor, error, since, error_location), every)
    run_selected(dead_jobs.RETRY, chosen, yes=yes or not every, dry_run=dry_run, as_json=as_json)


def discard(  # noqa: PLR0913 -- an option each
    ids: MaybeIds = None,
    *,
    every: All = False,
    queue: QueueName = None,
    actor: ActorName = None,
    error: ErrorName = None,
    error_location: LocationName = None,
    since: Since = None,
    reason: Annotated[
        str | None,
        typer.Option(help="Stored with the attempts of the job; default: your name and host."),
    ] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Delete dead jobs, by id or --all that match; the discard and its reason stay recorded."""
    chosen = BulkSelection(ids or [], DeadFilter(queue, actor, error, since, error_location), every)
    discard_all = dead_jobs.discard(f"by {describe_user()}" if reason is None else reason)
    run_selected(discard_all, chosen, yes=yes, dry_run=dry_run, as_json=as_json)
