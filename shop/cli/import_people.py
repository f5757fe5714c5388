"""`python -m shop import`: import users from a file of people."""

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workshed.console.cli.terminal.options import Json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shop.imports import Import, Layout, ProblemKind
    from workshed.db import Connection

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
IDLE_HINT_S = 10.0
"""Seconds without progress after which a hint says that no worker has begun."""


def import_people(  # noqa: PLR0913 -- an option each
    file: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False)],
    *,
    owner: Annotated[
        str | None, typer.Option(metavar="ADDRESS|ID", help="The user who owns the import.")
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="email=COLUMN", help="The column of `email`, or of `name`."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="TEMPLATE", help="The name, for example `{first_name} {last_name}`."),
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(help="The file's encoding, for example `windows-1250`.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show how the file is read; import nothing.")
    ] = False,
    welcome: Annotated[
        bool, typer.Option("--welcome", help="Send each new user a welcome email.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Import it even if the same file was imported before.")
    ] = False,
    failures: Annotated[
        Path | None,
        typer.Option(metavar="CSV", dir_okay=False, help="Write the failed rows to this file."),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until it has ended, or return at once.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Create users from a CSV file with names and email addresses.

    Workers do the work; this command waits and shows their progress. If you
    interrupt it, the import continues. A row that cannot become a user fails
    alone, and the exit code is then 1. --failures writes these rows with their
    reasons, so that you can correct and import them. Columns and encoding are
    detected; --dry-run shows them, and needs no server and no --owner.
    """
    from shop import import_actions
    from workshed.console.cli import INTERRUPTED
    from workshed.console.cli.terminal.output import print_json, print_message
    from workshed.console.operations.environment import open_database, require_broker

    layout = parse_layout(columns or [], name, encoding)
    if dry_run:
        print_preview(file, layout, as_json=as_json)
        return
    if owner is None:
        raise typer.BadParameter("pass the user who owns the import", param_hint="--owner")
    require_broker()
    with open_database("shop") as conn:
        user = import_actions.require_owner(conn, owner)
        import_id = submit_file(file, user.id, layout, welcome=welcome, again=again)
        if not wait:
            print_json({"import_id": import_id}) if as_json else print(import_id)
            return
        try:
            found = watch_import(conn, import_id)
        except KeyboardInterrupt:
            print_message(f"Import {import_id} continues without this command.")
            raise typer.Exit(INTERRUPTED) from None
        written = write_failures(conn, found, failures) if failures else None
        print_result(conn, found, as_json=as_json)
    if written is not None:
        print_message(f"{written} rows that failed are in {failures}.")
    if found.state == "failed" or found.failed:
        raise typer.Exit(1)


def parse_layout(columns: list[str], name: str | None, encoding: str | None) -> "Layout":
    """Return the layout of the file that the options specify."""
    from shop.imports import Layout, LayoutError

    said = {"name": name} if name else {}
    for pair in columns:
        key, _, column = pair.partition("=")
        if key not in ("email", "name") or not column.strip():
            problem = f"must be email=COLUMN or name=COLUMN, not {pair!r}"
            raise typer.BadParameter(problem, param_hint="--map")
        if key in said:
            raise typer.BadParameter(f"{key} is given twice", param_hint="--map")
        said[key] = column
    try:
        return Layout(encoding, said.get("email"), said.get("name"))
    except LayoutError as err:
        raise typer.BadParameter(str(err), param_hint="--encoding") from None


def print_preview(file: Path, layout: "Layout", *, as_json: bool) -> None:
    """Print how the file is read, and which of its rows would fail."""
    from shop import imports
    from workshed.console.cli.terminal.output import print_fields, print_json, print_table

    with file.open("rb") as content:
        found = imports.preview_file(content, layout)
    about = {
        "file": file.name,
        "encoding": found.encoding,
        "guessed": found.is_guess,
        "delimiter": found.delimiter,
        "name": found.name,
        "email": found.email,
        "skipped": found.skipped,
        "rows": found.rows,
        "good": found.valid_rows,
        "failed": found.rows - found.valid_rows,
    }
    people = [{"name": name, "email": email} for name, email in found.people]
    if as_json:
        kinds = [asdict(kind) for kind in found.problems]
        print_json({**about, "people": people, "problems": kinds})
        return
    about["encoding"] = format_encoding(found.encoding, is_guess=found.is_guess)
    about["delimiter"] = DELIMITERS.get(found.delimiter, found.delimiter)
    about["skipped"] = ", ".join(found.skipped) or "-"
    del about["guessed"]
    print_fields(about.items())
    if people:
        print()
        print_table(("name", "email"), [(one["name"], one["email"]) for one in people])
    print_problems(found.problems)


def format_encoding(encoding: str, *, is_guess: bool) -> str:
    """Format an encoding, with a note if it was guessed."""
    return f"{encoding} (guessed; look at the names)" if is_guess else encoding


def submit_file(file: Path, owner_id: int, layout: "Layout", *, welcome: bool, again: bool) -> int:
    """Start the import; return its id."""
    from actors import start_import
    from shop import import_actions
    from workshed import db
    from workshed.console.cli.terminal.audit import record_action

    with file.open("rb") as content:
        blob = import_actions.store_file(content)
    with db.transaction() as own:
        found = start_import(
            own, owner_id, file.name, blob, layout=layout, welcome=welcome, again=again
        )
        said = f"Import {found} was submitted for user {owner_id}."
        record_action(own, "import", {"import": found, "owner": owner_id}, said=said)
    return found


def watch_import(conn: "Connection", import_id: int) -> "Import":
    """Wait until the import has ended, with a progress bar on a terminal; return it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from shop import import_actions
    from workshed.console.cli.terminal.output import print_message

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
        for found in import_actions.follow_import(conn, import_id):
            if found.total is None:
                bar.update(task, completed=found.rows_read)
            else:
                done = found.succeeded + found.failed
                bar.update(task, description="importing", total=found.total, completed=done)
            if not warned and not found.progress_count and time.monotonic() - began > IDLE_HINT_S:
                warned = True
                print_message(
                    "No worker has started it yet; `workshed workers` lists the running ones."
                )
    return found


def write_failures(conn: "Connection", found: "Import", path: Path) -> int:
    """Write the list of failed rows, with a byte-order mark, by which spreadsheets detect UTF-8."""
    from shop import imports

    with path.open("w", encoding="utf-8-sig", newline="") as out, conn.transaction():
        return imports.write_failures(conn, found.id, out)


def print_result(conn: "Connection", found: "Import", *, as_json: bool) -> None:
    """Print the result of the import."""
    from shop import imports
    from workshed.console.cli.terminal.output import print_fields, print_json

    kinds = imports.list_problems(conn, found.id)
    seconds = (found.ended_at - found.created_at).total_seconds() if found.ended_at else None
    about = {
        "import": found.id,
        "file": found.filename,
        "encoding": found.encoding,
        "guessed": found.is_guess,
        "skipped": found.skipped or [],
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
    if found.encoding:
        about["encoding"] = format_encoding(found.encoding, is_guess=found.is_guess)
    about["skipped"] = ", ".join(found.skipped or []) or "-"
    del about["guessed"]
    print_fields(about.items())
    print_problems(kinds)


def print_problems(kinds: "Sequence[ProblemKind]") -> None:
    """Print the problems of failed rows by kind."""
    from workshed.console.cli.terminal.output import print_table

    if kinds:
        print()
        rows = [(kind.problem, kind.rows, kind.line, kind.reason) for kind in kinds]
        print_table(("problem", "rows", "first line", "reason there"), rows, elastic=3)
