"""`workshed dead retry` and `workshed dead discard`."""

from typing import Annotated

import typer

from workshed.console.cli.jobs.dead_bulk import (
    BulkSelection,
    DeadAction,
    apply_action,
    retry_action,
)
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
from workshed.jobs.dead import dead_jobs


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
    chosen = BulkSelection(
        ids or [], dead_jobs.DeadFilter(queue, actor, error, since, error_location), every
    )
    apply_action(
        retry_action("dead.retry"), chosen, ask=every and not yes, dry_run=dry_run, as_json=as_json
    )


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
        str, typer.Option(help="Stored with the attempts of the job.")
    ] = "by an operator",
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Delete dead jobs, by id or --all that match; the discard and its reason stay recorded."""
    chosen = BulkSelection(
        ids or [], dead_jobs.DeadFilter(queue, actor, error, since, error_location), every
    )
    fate = DeadAction(
        "dead.discard",
        "Discard",
        "discarded",
        lambda conn, one: dead_jobs.discard_job(conn, one, reason),
    )
    apply_action(fate, chosen, ask=not yes, dry_run=dry_run, as_json=as_json)
