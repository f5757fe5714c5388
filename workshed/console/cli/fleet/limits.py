"""`workshed limits`: how much of each limit is in use, and how many jobs wait."""

from datetime import datetime
from typing import Annotated

import typer

from workshed.console.cli.terminal import output
from workshed.console.cli.terminal.list_by_default import ListByDefault
from workshed.console.cli.terminal.options import Json, Limit
from workshed.console.formatting import format_duration, format_seconds
from workshed.console.operations.environment import open_database
from workshed.database.postgres import database_now
from workshed.jobs.locks import limits as rows
from workshed.jobs.locks.limits import LimitState

limits = typer.Typer(
    cls=ListByDefault,
    add_completion=False,
    help="Show how much of each limit is in use, and how many jobs wait.",
)

Key = Annotated[str | None, typer.Option(help="Only this limit.")]
Waiting = Annotated[bool, typer.Option("--waiting", help="Only limits that jobs wait for.")]


@limits.callback()
def group() -> None:
    """Keep `list` a sub-command: without a callback, typer merges a lone command into its group."""


@limits.command("list")
def list_limits(
    *, key: Key = None, waiting: Waiting = False, limit: Limit = 1_000, as_json: Json = False
) -> None:
    """List the limits that are in use; `workshed limits` does the same.

    `next free` is when a job that arrives now gets a slot. A dash means: when a running job ends.
    """
    with open_database() as conn:
        found = rows.list_limits(conn, key=key, waiting=waiting, limit=limit)
        now = database_now(conn)
    if as_json:
        output.print_json(found)
    elif found:
        columns = ("key, kind", "used/of", "waiting", "for", "next free")
        output.print_table(columns, [format_limit(state, now) for state in found], elastic=0)
    else:
        output.print_message("No job is waiting for a limit." if waiting else "No limit is in use.")


def format_limit(state: LimitState, now: datetime) -> tuple[object, ...]:
    """Return the table row of a limit."""
    said = {"concurrent": "", "window": " per ", "bucket": " one per "}[state.kind]
    span = format_seconds(state.span.total_seconds()) if state.span else ""
    opens = None
    if state.next_at is not None:
        opens = "now" if state.next_at <= now else f"in {format_duration(state.next_at - now)}"
    return (
        f"{state.key}\n{state.kind}{said}{span}",
        f"{state.used}/{state.size}",
        state.waiting,
        state.waiting_since and format_duration(now - state.waiting_since),
        opens,
    )
