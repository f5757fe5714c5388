"""`workshed batches`: groups of jobs, and their progress."""

from typing import Annotated

import typer

from workshed.console.cli.jobs.dead_bulk import BulkSelection, decide, retrying
from workshed.console.cli.terminal import output
from workshed.console.cli.terminal.audit import note
from workshed.console.cli.terminal.confirm import agreed
from workshed.console.cli.terminal.list_by_default import ListByDefault
from workshed.console.cli.terminal.options import DryRun, Json, Limit, Yes
from workshed.console.cli.terminal.output import print_json, talk
from workshed.console.cli.terminal.progress import progress
from workshed.console.formatting import ago, jobs
from workshed.console.operations.batches import as_data, require_batch
from workshed.console.operations.batches import cancel_batch as let_none_start
from workshed.console.operations.environment import open_database
from workshed.jobs.batches import progress as rows
from workshed.jobs.batches.progress import BatchProgress
from workshed.jobs.control.batch_cancellations import cancel_some
from workshed.jobs.dead import dead_jobs as dead
from workshed.jobs.outbox.claims import database_now

batches = typer.Typer(
    cls=ListByDefault,
    add_completion=False,
    help="Show the progress of batches; retry or cancel their jobs.",
)

BatchId = Annotated[str, typer.Argument(metavar="ID", show_default=False)]
SHOWN = 20
"""Dead jobs of a batch to list; the rest are only counted."""
FEW = 100


@batches.command("list")
def listed(
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
            (f"{one.id}\n{one.description}", one.state, counts(one), ago(one.created_at, now))
            for one in found
        ]
        output.table(("batch", "state", "jobs", "created"), lines, elastic=0)
    else:
        output.talk("No batches.")


@batches.command()
def show(batch: BatchId, *, as_json: Json = False) -> None:
    """Show the progress of a batch, its callbacks, and its dead jobs."""
    with open_database() as conn:
        found = require_batch(conn, batch)
        told, dead = rows.list_callbacks(conn, found.id), rows.list_dead_ids(conn, found.id)
        now = database_now(conn)
    if as_json:
        output.print_json(as_data(found) | {"callbacks": told, "dead_jobs": dead})
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
    output.fields(
        [
            ("id", found.id),
            ("description", found.description or None),
            ("state", found.state),
            ("jobs", counts(found)),
            *((name, count) for name, count in ends.items() if count),
            *((name, ago(at, now)) for name, at in times.items() if at is not None),
            *(
                (
                    f"on_{one.event}",
                    f"{one.actor} {one.message_id}, "
                    + (f"sent {ago(one.sent_at, now)}" if one.sent_at else "not sent"),
                )
                for one in told
            ),
            *(("dead job", one) for one in dead[:SHOWN]),
        ]
    )
    if len(dead) > SHOWN:
        output.talk(f"{len(dead) - SHOWN} more are dead; --json lists all.")
    if dead:
        output.talk(f"\nTo retry the dead jobs: `workshed batches retry {found.id}`.")


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
    if not ids:
        if as_json:
            print_json([])
        talk("None of its jobs are dead.")
        return
    chosen = BulkSelection(ids, dead.ANY, every=False, about={"batch": found.id})
    decide(retrying("batches.retry"), chosen, ask=not yes, dry_run=dry_run, as_json=as_json)


@batches.command()
def cancel(
    batch: BatchId, *, yes: Yes = False, dry_run: DryRun = False, as_json: Json = False
) -> None:
    """Cancel a batch: waiting jobs are deleted, running ones are asked to stop.

    `on_complete` is sent when all jobs have ended; `on_success` is never sent.
    """
    with open_database() as conn:
        found = require_batch(conn, batch)
        if not dry_run:
            agreed(
                f"Cancel batch {found.id} with {jobs(found.pending)} that have not ended", yes=yes
            )
            with conn.transaction():
                let_none_start(conn, found)
                if found.cancelled_at is None:
                    count = found.pending or 1  # a batch without jobs yet counts as one
                    said = f"Batch cancelled; {jobs(found.pending)} had not ended."
                    note(conn, "batches.cancel", {"batch": found.id}, count=count, said=said)
            with progress(found.pending) as step:
                while some := cancel_some(conn, FEW, found.id):
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
        output.talk(f"{jobs(found.pending)} would be cancelled.")
    else:
        output.talk(f"{jobs(found.cancelled)} cancelled, {found.pending} still queued or running.")


def counts(batch: BatchProgress) -> str:
    """Format the progress: `9990 of 10000, 3 dead`."""
    return f"{batch.ended} of {batch.total}" + (f", {batch.dead} dead" if batch.dead else "")
