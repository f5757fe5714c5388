"""`workshed periodic`: jobs that run on a schedule."""

from datetime import datetime
from typing import Annotated

import typer

from workshed.console.cli.terminal import completion, output
from workshed.console.cli.terminal.bulk import run_operation
from workshed.console.cli.terminal.list_by_default import ListByDefault
from workshed.console.cli.terminal.options import Json
from workshed.console.cli.terminal.output import print_message
from workshed.console.formatting import format_ago, format_due
from workshed.console.operations.environment import open_database
from workshed.console.operations.periodic import (
    PAUSE,
    RESUME,
    RUN,
    PeriodicJobState,
    as_data,
    list_states,
)
from workshed.database.postgres import database_now

periodic = typer.Typer(
    cls=ListByDefault, add_completion=False, help="List, run and pause periodic jobs."
)

Names = Annotated[
    list[str],
    typer.Argument(metavar="NAME", show_default=False, autocompletion=completion.complete_periodic),
]


@periodic.command("list")
def list_periodic(*, as_json: Json = False) -> None:
    """List periodic jobs with their last and next run; `workshed periodic` does the same.

    A job appears here once a worker or a clock (`periodiq actors`) that declares it has started.
    """
    with open_database() as conn:
        found, now = list_states(conn), database_now(conn)
    if as_json:
        output.print_json([as_data(one) for one in found])
    elif found:
        lines = [
            (
                f"{one.job.name}\n{one.job.description}",
                format_last_run(one, now),
                format_next_run(one, now),
            )
            for one in found
        ]
        output.print_table(("job", "last run", "next run"), lines, elastic=0)
    else:
        output.print_message(
            "No periodic jobs; workers and clocks register theirs when they start."
        )


@periodic.command()
def run(names: Names, *, as_json: Json = False) -> None:
    """Run periodic jobs now, in addition to their schedule; the scheduled time of the run is now.

    Paused jobs run too. Exit code 1 if a unique job was not sent because it is still running.
    """
    with open_database() as conn:
        run_operation(conn, RUN, names, as_json=as_json)


@periodic.command()
def pause(names: Names, *, as_json: Json = False) -> None:
    """Pause periodic jobs. Jobs already sent still run; runs due during the pause are skipped."""
    with open_database() as conn:
        run_operation(conn, PAUSE, names, as_json=as_json)
    print_message(f"To resume: `workshed periodic resume {' '.join(names)}`.")


@periodic.command()
def resume(names: Names, *, as_json: Json = False) -> None:
    """Resume paused periodic jobs, from their next scheduled time."""
    with open_database() as conn:
        run_operation(conn, RESUME, names, as_json=as_json)
    print_message("`workshed periodic` shows when they run.")


def format_last_run(one: PeriodicJobState, now: datetime) -> str:
    """Return the outcome and the time of the last run."""
    if one.last_run is None:
        return "never"
    return (
        f"{one.outcome or '-'}\n{format_ago(one.last_run.scheduled_for, now)}, by "
        f"{one.last_run.created_by}"
    )


def format_next_run(one: PeriodicJobState, now: datetime) -> str:
    """Return when it runs next, also in its time zone, or why it does not."""
    if one.job.paused_at is not None:
        return f"paused\n{format_ago(one.job.paused_at, now)}"
    if not one.job.live:
        return f"no worker declares it\nlast seen {format_ago(one.job.seen_at, now)}"
    return f"{format_due(one.job.next_at, now)}\n{one.next_at_local:%a %d %b %H:%M} {one.job.zone}"
