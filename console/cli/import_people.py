"""`workshed import`: hand in a file of people, and watch them become users."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.cli.options import Json

if TYPE_CHECKING:
    from workshed.db import Connection
    from workshed.imports import Import

NOBODY_S = 10.0
"""After this it is said that no worker has begun."""


def import_people(
    file: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False)],
    *,
    owner: Annotated[str, typer.Option(metavar="ADDRESS|ID", help="The user whose import it is.")],
    welcome: Annotated[bool, typer.Option("--welcome", help="Send each a welcome mail.")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Also where the same file was handed in before.")
    ] = False,
    failures: Annotated[
        Path | None,
        typer.Option(metavar="CSV", dir_okay=False, help="Write the rows that failed there."),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Until it is over, or not at all.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Make users of the people in a CSV with the columns name and email.

    Workers do it; this command waits and shows how far they are. Interrupted,
    it leaves the import to them. A row that cannot become a user fails by
    itself, and the exit code is 1 then; with --failures it is written with its
    reason, to be corrected and handed in.
    """
    from console import importing
    from console.cli import INTERRUPTED
    from console.cli.output import print_json, talk
    from console.program import database, rabbitmq

    rabbitmq()
    with database("product") as conn:
        user = importing.owner(conn, owner)
        import_id = handed_in(file, user.id, welcome=welcome, again=again)
        if not wait:
            print_json({"import_id": import_id}) if as_json else print(import_id)
            return
        try:
            found = watched(conn, import_id)
        except KeyboardInterrupt:
            talk(f"Import {import_id} goes on without you.")
            raise typer.Exit(INTERRUPTED) from None
        written = write(conn, found, failures) if failures else None
        tell(conn, found, as_json=as_json)
    if written is not None:
        talk(f"{written} rows that failed are in {failures}.")
    if found.state == "failed" or found.failed:
        raise typer.Exit(1)


def handed_in(file: Path, owner_id: int, *, welcome: bool, again: bool) -> int:
    """Hand it in; return the import's id."""
    from actors import start_import
    from console import importing
    from console.cli.noted import note
    from workshed import db

    with file.open("rb") as content:
        blob = importing.keep(content)
    with db.transaction() as own:
        found = start_import(own, owner_id, file.name, blob, welcome=welcome, again=again)
        said = f"Import {found} was handed in for user {owner_id}."
        note(own, "import", {"import": found, "owner": owner_id}, said=said)
    return found


def watched(conn: "Connection", import_id: int) -> "Import":
    """Show how far it is, on a terminal as a bar, until it is over; return it then."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from console import importing
    from console.cli.output import talk

    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows"),
        TimeElapsedColumn(),
    )
    began, warned = time.monotonic(), False
    with Progress(
        *columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()
    ) as bar:
        task = bar.add_task("reading", total=None)
        for found in importing.follow(conn, import_id):
            if found.total is None:
                bar.update(task, completed=found.landed)
            else:
                done = found.succeeded + found.failed
                bar.update(task, description="importing", total=found.total, completed=done)
            if not warned and not found.steps and time.monotonic() - began > NOBODY_S:
                warned = True
                talk("No worker has begun with it; `workshed workers` shows which are there.")
    return found


def write(conn: "Connection", found: "Import", path: Path) -> int:
    """Write the list of failed rows; spreadsheets know UTF-8 by its mark."""
    from workshed import imports

    with path.open("w", encoding="utf-8-sig", newline="") as out, conn.transaction():
        return imports.write_failures(conn, found.id, out)


def tell(conn: "Connection", found: "Import", *, as_json: bool) -> None:
    """Print what came of it."""
    from dataclasses import asdict

    from console.cli.output import fields, print_json, table
    from workshed import imports

    kinds = imports.problems(conn, found.id)
    seconds = (found.ended_at - found.created_at).total_seconds() if found.ended_at else None
    about = {
        "import": found.id,
        "file": found.filename,
        "state": found.state,
        "rows": found.total,
        "succeeded": found.succeeded,
        "failed": found.failed,
        "seconds": seconds,
    }
    if found.error:
        about["error"] = found.error
    if as_json:
        print_json({**about, "problems": [asdict(kind) for kind in kinds]})
        return
    fields(about.items())
    if kinds:
        print()
        rows = [(kind.problem, kind.rows, kind.line, kind.reason) for kind in kinds]
        table(("problem", "rows", "first line", "reason there"), rows, elastic=3)
