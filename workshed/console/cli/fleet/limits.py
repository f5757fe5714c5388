"""`workshed limits`: how much of each limit is used, and who waits."""

from datetime import datetime
from typing import Annotated

import typer

from workshed.console.cli.terminal import output
from workshed.console.cli.terminal.list_by_default import ListByDefault
from workshed.console.cli.terminal.options import Json, Limit
from workshed.console.formatting import in_words, seconds
from workshed.console.operations.environment import open_database
from workshed.jobs.locks import limits as rows
from workshed.jobs.locks.limits import LimitState
from workshed.jobs.outbox.claims import database_now

limits = typer.Typer(
    cls=ListByDefault, add_completion=False, help="How much of each limit is used, and who waits."
)

Key = Annotated[str | None, typer.Option(help="Only this limit.")]
Waiting = Annotated[bool, typer.Option("--waiting", help="Only those that jobs wait for.")]


@limits.callback()
def group() -> None:
    """Let `list` be a word of its own, though there is no other yet."""


@limits.command("list")
def listed(
    *, key: Key = None, waiting: Waiting = False, limit: Limit = 1_000, as_json: Json = False
) -> None:
    """List the limits that are in use; `workshed limits` does the same.

    `next free` is when a job that comes now gets a slot; a dash: when one that runs has ended.
    """
    with open_database() as conn:
        found = rows.list_limits(conn, key=key, waiting=waiting, limit=limit)
        now = database_now(conn)
    if as_json:
        output.print_json(found)
    elif found:
        columns = ("key, kind", "used/of", "waiting", "for", "next free")
        output.table(columns, [line(state, now) for state in found], elastic=0)
    else:
        output.talk("No job waits for a limit." if waiting else "No limit is in use.")


def line(state: LimitState, now: datetime) -> tuple[object, ...]:
    """Show one of them."""
    said = {"concurrent": "", "window": " per ", "bucket": " one per "}[state.kind]
    span = seconds(state.span.total_seconds()) if state.span else ""
    opens = None
    if state.next_at is not None:
        opens = "now" if state.next_at <= now else f"in {in_words(state.next_at - now)}"
    return (
        f"{state.key}\n{state.kind}{said}{span}",
        f"{state.used}/{state.size}",
        state.waiting,
        state.waiting_since and in_words(now - state.waiting_since),
        opens,
    )
