"""`workshed batches`: groups of jobs, and their progress."""

from typing import Annotated

import typer

from workshed.console.cli.terminal import output
from workshed.console.cli.terminal.bulk import confirm_operation, record_result, run_operation
from workshed.console.cli.terminal.list_by_default import ListByDefault
from workshed.console.cli.terminal.options import DryRun, Json, Limit, Yes
from workshed.console.cli.terminal.output import print_json, print_message
from workshed.console.cli.terminal.progress import show_progress
from workshed.console.formatting import format_ago, format_job_count
from workshed.console.operations.batches import CANCEL, NONE_DEAD, as_data, require_batch
from workshed.console.operations.dead_jobs import RETRY_BATCH
from workshed.console.operations.environment import open_database
from workshed.database.postgres import database_now
from workshed.jobs.batches import progress as rows
from workshed.jobs.batches.progress import BatchProgress
from workshed.jobs.control.batch_cancellations import cancel_waiting_jobs

batches = typer.Typer(
    cls=ListByDefault,
    add_completion=False,
    help="Show the progress of batches; retry or cancel their jobs.",
)

BatchId = Annotated[str, typer.Argument(metavar="ID", show_default=False)]
MOST_DEAD_IDS = 20
"""Dead jobs of a batch to list; the rest are only counted."""
CANCEL_CHUNK = 100


@batches.command("list")
def list_batches(
    *,
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="Only batches that have not succeeded.")
    ] = False,
    limit: Limit = 100,
    as_json: Json = False,
) -> None:
    """List the batches, the latest first; `workshed batches` does the same."""
    with open_database() as conn:
        found, now = rows.list_batches(conn, unfinished=unfinished, limit=limit), database_now(conn)
    if as_json:
        output.print_json([as_data(one) for one in found])
    elif found:
        lines = [
            (
                f"{one.id}\n{one.description}",
                one.state,
                format_counts(one),
                format_ago(one.created_at, now),
            )
            for one in found
        ]
        output.print_table(("batch", "state", "jobs", "created"), lines, elastic=0)
    else:
        output.print_message("No batches.")


@batches.command()
def show(batch: BatchId, *, as_json: Json = False) -> None:
    """Show the progress of a batch, its callbacks, and its dead jobs."""
    with open_database() as conn:
        found = require_batch(conn, batch)
        callbacks, dead = rows.list_callbacks(conn, found.id), rows.list_dead_ids(conn, found.id)
        now = database_now(conn)
    if as_json:
        output.print_json(as_data(found) | {"callbacks": callbacks, "dead_jobs": dead})
        return
    times = {
        "created": found.created_at,
        "closed": found.closed_at,
        "cancelled": found.cancelled_at,
        "first death": found.died_at,
        "all ended": found.completed_at,
        "all succeeded": found.succeeded_at,
    }
    ends = {
        "pending": found.pending,
        "succeeded": found.succeeded,
        "discarded": found.discarded,
        "cancelled jobs": found.cancelled,
        "dead": found.dead,
    }
    output.print_fields(
        [
            ("id", found.id),
            ("description", found.description or None),
            ("state", found.state),
            ("jobs", format_counts(found)),
            *((name, count) for name, count in ends.items() if count),
            *((name, format_ago(at, now)) for name, at in times.items() if at is not None),
            *(
                (
                    f"on_{one.event}",
                    f"{one.actor} {one.message_id}, "
                    + (f"sent {format_ago(one.sent_at, now)}" if one.sent_at else "not sent"),
                )
                for one in callbacks
            ),
            *(("dead job", one) for one in dead[:MOST_DEAD_IDS]),
        ]
    )
    if len(dead) > MOST_DEAD_IDS:
        output.print_message(f"{len(dead) - MOST_DEAD_IDS} more are dead; --json lists all.")
    if dead:
        output.print_message(f"\nTo retry the dead jobs: `workshed batches retry {found.id}`.")


@batches.command()
def retry(
    batch: BatchId, *, yes: Yes = False, dry_run: DryRun = False, as_json: Json = False
) -> None:
    """Retry the dead jobs of a batch; they start again at attempt 1.

    Once all jobs have succeeded, `on_success` is sent.
    """
    with open_database() as conn:
        found = require_batch(conn, batch)
        ids = rows.list_dead_ids(conn, found.id)
        if ids:
            run_operation(
                conn,
                RETRY_BATCH,
                ids,
                as_json=as_json,
                yes=yes,
                dry_run=dry_run,
                details={"batch": found.id},
                is_filtered=True,
            )
            return
    if as_json:
        print_json([])
    print_message(NONE_DEAD)


@batches.command()
def cancel(
    batch: BatchId, *, yes: Yes = False, dry_run: DryRun = False, as_json: Json = False
) -> None:
    """Cancel a batch: waiting jobs are deleted, running ones are asked to stop.

    `on_complete` is sent when all jobs have ended; `on_success` is never sent.
    """
    with open_database() as conn:
        unfinished = CANCEL.find(conn, [batch])
        confirm_operation(conn, CANCEL, unfinished, yes=yes, dry_run=dry_run)
        [found] = unfinished.values()
        if not dry_run:
            with conn.transaction():
                result = CANCEL.perform(conn, unfinished, {"batch": found.id})
                record_result(conn, CANCEL.name, result)
            with show_progress(found.pending) as step:
                while some := cancel_waiting_jobs(conn, CANCEL_CHUNK, found.id):
                    for _ in some:
                        step()
        found = require_batch(conn, batch)
    if as_json:
        output.print_json(as_data(found))
    elif dry_run:
        print(f"{found.id}  would be cancelled")
    else:
        print(f"{found.id}  {found.state}")
    if dry_run:
        output.print_message(f"{format_job_count(found.pending)} would be cancelled.")
    else:
        output.print_message(
            f"{format_job_count(found.cancelled)} cancelled, {found.pending} still queued or "
            "running."
        )


def format_counts(batch: BatchProgress) -> str:
    """Format the progress: `9990 of 10000, 3 dead`."""
    return f"{batch.ended} of {batch.total}" + (f", {batch.dead} dead" if batch.dead else "")
