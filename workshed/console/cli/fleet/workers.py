"""`workshed workers`: list worker processes, and quiet or resume them."""

from dataclasses import asdict
from typing import Annotated

import typer

from workshed.console.cli.terminal import completion, output
from workshed.console.cli.terminal.bulk import run_operation
from workshed.console.cli.terminal.list_by_default import ListByDefault
from workshed.console.cli.terminal.options import Json
from workshed.console.cli.terminal.output import print_message
from workshed.console.formatting import format_ago, format_duration
from workshed.console.operations.environment import open_database
from workshed.console.operations.workers import QUIET, RESUME
from workshed.database.postgres import database_now
from workshed.jobs.control import workers as rows

workers = typer.Typer(
    cls=ListByDefault, add_completion=False, help="List worker processes; quiet or resume them."
)

Names = Annotated[
    list[str],
    typer.Argument(
        metavar="WORKER",
        help="HOST:PID, or the id from --json.",
        show_default=False,
        autocompletion=completion.complete_workers,
    ),
]


@workers.command("list")
def list_workers(*, as_json: Json = False) -> None:
    """List the worker processes of all hosts; `workshed workers` does the same.

    A worker without a heartbeat for 10 s is silent: it was killed, or cannot reach PostgreSQL. It
    disappears after 5 min.
    """
    with open_database() as conn:
        found = rows.list_workers(conn)
        now = database_now(conn)
    if as_json:
        output.print_json([asdict(one) for one in found])
    elif found:
        lines = [
            (
                f"{one.host} {one.pid}\n{one.release or '-'}",
                f"{one.busy}/{one.threads}",
                format_duration(now - one.started_at),
                format_heartbeat(one.state, format_ago(one.beat_at, now)),
                ", ".join(one.queues),
            )
            for one in found
        ]
        output.print_table(("worker", "busy", "up", "heartbeat", "queues"), lines, elastic=4)
    else:
        output.print_message("No worker is running: start `workshed worker`, or `dramatiq actors`.")


def format_heartbeat(state: str, when: str) -> str:
    """Return when the last heartbeat was, and the state unless it is `alive`."""
    return when if state == "alive" else f"{state}, {when}"


@workers.command()
def quiet(names: Names, *, as_json: Json = False) -> None:
    """Quiet workers: running jobs finish, prefetched jobs go back to their queues.

    The processes stay up, quiet, until you resume or restart them.
    """
    with open_database() as conn:
        run_operation(conn, QUIET, names, as_json=as_json)
    print_message(f"To resume: `workshed workers resume {' '.join(names)}`.")


@workers.command()
def resume(names: Names, *, as_json: Json = False) -> None:
    """Let quiet workers start jobs again."""
    with open_database() as conn:
        run_operation(conn, RESUME, names, as_json=as_json)
