"""`workshed erase`: remove a person's data from the records of jobs."""

from dataclasses import asdict
from typing import Annotated

import typer

from workshed.console.cli.terminal.audit import record_action
from workshed.console.cli.terminal.confirm import require_confirmation
from workshed.console.cli.terminal.options import ActorName, DryRun, Json, Yes
from workshed.console.cli.terminal.output import print_fields, print_json, print_message
from workshed.console.operations.arguments import KEYWORD, parse_value
from workshed.console.operations.environment import open_database
from workshed.database.postgres import Connection
from workshed.jobs.maintenance import erasure
from workshed.jobs.maintenance.erasure import ErasureCounts, ErasureTarget

SHORTEST_TEXT = 3
"""Characters; shorter texts match too many people's data."""


def erase(
    text: Annotated[
        str | None,
        typer.Argument(metavar="TEXT", help="Text to look for, for example an email address."),
    ] = None,
    *,
    argument: Annotated[
        str | None,
        typer.Option(metavar="NAME=VALUE", help="Jobs with this argument, for example user_id=7."),
    ] = None,
    tag: Annotated[str | None, typer.Option(help="Jobs with this tag.")] = None,
    actor: ActorName = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Remove a person's data from runs, attempts and dead jobs.

    Times and outcomes stay. Dead jobs with the data are discarded. Jobs that
    still wait are only counted; cancel them with `workshed scheduled cancel`.
    """
    if text is None and argument is None and tag is None:
        raise typer.BadParameter("give a TEXT, an --argument or a --tag")
    if text is not None and len(text) < SHORTEST_TEXT:
        raise typer.BadParameter(f"{text!r} is too short: it would match other people's data")
    named = None if argument is None else KEYWORD.fullmatch(argument)
    if argument is not None and named is None:
        raise typer.BadParameter(f"--argument {argument!r} is not of the form NAME=VALUE")
    pair = None if named is None else (named[1], parse_value(named[2]))
    which = erasure.ErasureTarget(text, pair, tag, actor)
    with open_database() as conn:
        found = erasure.count_erasable(conn, which)
        if not dry_run and (found.runs or found.attempts or found.dead):
            what = f"{found.runs} runs and {found.attempts} attempts"
            require_confirmation(
                f"Erase the data in {what}, and discard {found.dead} dead jobs", yes=yes
            )
            with conn.transaction():
                found = erasure.erase_person(conn, which)
                record_erasure(conn, which, found)
    if as_json:
        print_json({**asdict(found), "erased": not dry_run})
        return
    print_fields(asdict(found).items())
    if dry_run:
        print_message("Nothing was changed.")
    if found.waiting:
        print_message(f"{found.waiting} waiting jobs hold it too; see `workshed scheduled`.")


def record_erasure(conn: Connection, target: ErasureTarget, found: ErasureCounts) -> None:
    """Write the audit entry; it holds no personal data, because the audit cannot be erased."""
    by = [name for name in ("text", "argument", "tag") if getattr(target, name) is not None]
    said = (
        f"Data of a person erased in {found.runs} runs and {found.attempts} attempts; "
        f"{found.dead} dead jobs discarded."
    )
    count = found.runs + found.attempts + found.dead
    record_action(conn, "erase", {"by": by, "actor": target.actor}, count=count, said=said)
