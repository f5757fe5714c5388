"""`workshed scheduled rules`: the cancellation rules that `cancel --all --sent` created."""

from typing import Annotated

import typer

from workshed.console.cli.terminal import output
from workshed.console.cli.terminal.bulk import run_operation
from workshed.console.cli.terminal.list_by_default import ListByDefault
from workshed.console.cli.terminal.options import Json
from workshed.console.formatting import format_ago
from workshed.console.operations.cancel import DELETE_RULES
from workshed.console.operations.environment import open_database
from workshed.database.postgres import database_now
from workshed.jobs.control import cancel_rules as rows

rules = typer.Typer(
    cls=ListByDefault,
    add_completion=False,
    help="List or delete the rules that `cancel --all --sent` creates.",
)


@rules.command("list")
def list_rules(*, as_json: Json = False) -> None:
    """List the cancellation rules; they expire after WORKSHED_DEDUPLICATION_RETENTION."""
    with open_database() as conn:
        found, now = rows.list_rules(conn), database_now(conn)
    if as_json:
        output.print_json(found)
    elif found:
        lines = [
            (one.id, one.actor, one.queue, one.tag, format_ago(one.sent_before, now))
            for one in found
        ]
        output.print_table(("rule", "actor", "queue", "tag", "sent before"), lines)
    else:
        output.print_message("No cancellation rules.")


@rules.command()
def delete(
    numbers: Annotated[list[int], typer.Argument(metavar="RULE", show_default=False)],
    *,
    as_json: Json = False,
) -> None:
    """Delete cancellation rules; jobs that a rule has not cancelled yet will run.

    Takes effect within 2 s.
    """
    with open_database() as conn:
        run_operation(conn, DELETE_RULES, [str(number) for number in numbers], as_json=as_json)
