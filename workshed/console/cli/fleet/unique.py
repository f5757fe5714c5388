"""`workshed unique`: the keys of unique jobs, and the jobs that hold them."""

from typing import Annotated

import typer

from workshed.console.cli.terminal import output
from workshed.console.cli.terminal.bulk import run_operation
from workshed.console.cli.terminal.list_by_default import ListByDefault
from workshed.console.cli.terminal.options import ActorName, DryRun, Json, Limit, Yes
from workshed.console.formatting import format_ago, format_due
from workshed.console.operations import unique as keys
from workshed.console.operations.environment import open_database, open_queue_server
from workshed.console.operations.unique import RELEASE, HeldKey, as_data
from workshed.database.postgres import database_now

unique = typer.Typer(
    cls=ListByDefault,
    add_completion=False,
    help="List or release the keys of unique jobs.",
)

Keys = Annotated[list[str], typer.Argument(metavar="KEY", show_default=False)]


@unique.command("list")
def list_keys(
    *,
    actor: ActorName = None,
    orphaned: Annotated[
        bool, typer.Option("--orphaned", help="Only keys whose job no longer exists.")
    ] = False,
    limit: Limit = 1_000,
    as_json: Json = False,
) -> None:
    """List unique keys, the longest held first; `workshed unique` does the same.

    A key is orphaned only when its job was lost with a purged or deleted RabbitMQ
    queue, or with a deleted row. With RabbitMQ, --orphaned needs
    WORKSHED_MANAGEMENT_URL.
    """
    with open_database() as conn:
        unjudged = 0
        if orphaned:
            judged = open_queue_server().find_orphans(conn)
            unjudged = judged.unjudged
            held = [HeldKey("alive", lock) for lock in judged.locks if actor in (None, lock.actor)]
        else:
            held = keys.list_held_keys(conn, actor=actor, limit=limit)
        now = database_now(conn)
    found = [as_data(one) for one in sorted(held, key=lambda one: one.sort_key)[:limit]]
    if as_json:
        output.print_json(found)
    elif found:
        lines = [
            (
                f"{one['key']}\n{one['message_id']}",
                one["kind"],
                format_ago(one["acquired_at"], now),
                format_due(one["expires_at"], now) if one["expires_at"] else "with its job",
            )
            for one in found
        ]
        output.print_table(("key, job", "while", "held", "free"), lines, elastic=0)
    else:
        output.print_message("No orphaned keys." if orphaned else "No key is held.")
    if unjudged:
        output.print_message(
            f"{unjudged} more have no row in PostgreSQL; their jobs may still be in their queues."
        )


@unique.command()
def release(
    keys: Keys, *, yes: Yes = False, dry_run: DryRun = False, as_json: Json = False
) -> None:
    """Release unique keys. A job that is still running may then overlap with the next."""
    with open_database() as conn:
        run_operation(conn, RELEASE, keys, as_json=as_json, yes=yes, dry_run=dry_run)
