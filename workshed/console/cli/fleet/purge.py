"""`workshed queues purge`: discard the ready jobs of a queue."""

from typing import Annotated

import typer

from workshed.console.cli.terminal import completion
from workshed.console.cli.terminal.bulk import record_result
from workshed.console.cli.terminal.confirm import require_confirmation
from workshed.console.cli.terminal.options import DryRun, Json, Yes
from workshed.console.cli.terminal.output import print_json, print_message
from workshed.console.cli.terminal.progress import show_progress
from workshed.console.formatting import format_job_count
from workshed.console.operations.environment import open_database, open_queue_server
from workshed.console.operations.queues import plan_purge
from workshed.console.purging import PurgeCounts


def purge_queue(
    name: Annotated[
        str,
        typer.Argument(
            metavar="QUEUE", autocompletion=completion.complete_queues, show_default=False
        ),
    ],
    *,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Discard the ready jobs of QUEUE, as many as there are when the command starts.

    Jobs end one by one, as cancelled: each is recorded, its unique key is
    released, and its batch goes on. Jobs that workers hold and jobs that wait in
    PostgreSQL for later, or for a relay, stay. Unreadable messages become dead
    jobs.
    """
    server = open_queue_server()
    with open_database() as conn:
        purge = plan_purge(conn, server, name)
        done = PurgeCounts()
        if purge.count and not dry_run:
            if not yes:
                print_message(purge.preview.notes)
            require_confirmation(purge.confirm_text, yes=yes)
            try:
                with show_progress(purge.count) as step:
                    server.purge_queue(conn, name, purge.count, done, step)
            finally:
                record_result(conn, "queues.purge", purge.result(done))
    if as_json:
        summary = {"queue": name, "found": purge.ready, "purged": done.ended}
        print_json(summary | {"unreadable": done.unreadable})
    else:
        print(purge.count if dry_run else done.ended)
    print_message(
        f"{format_job_count(purge.count)} would be discarded."
        if dry_run
        else f"{format_job_count(done.ended)} discarded."
    )
    if done.unreadable:
        print_message(f"{done.unreadable} could not be read and are dead; see `workshed dead`.")
    if purge.stored:
        print_message(
            f"{purge.stored} more {purge.stored_place}: "
            f"`workshed scheduled cancel --all --queue {name}`."
        )
