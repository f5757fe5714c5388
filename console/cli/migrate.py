"""`workshed migrate`: bring the database's schema up to this release."""

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from console.cli.options import Json
from console.words import SPAN, span

if TYPE_CHECKING:
    from workshed.db import Connection
    from workshed.migrate import Migration, Stream

LOOK_S = 1.0
"""Between two looks at what others have applied."""


def migrate(
    *,
    with_product: Annotated[
        bool, typer.Option("--with-product", help="The tables of the shipped jobs as well.")
    ] = False,
    status: Annotated[
        bool, typer.Option("--status", help="List what is applied and what is pending.")
    ] = False,
    sql: Annotated[
        bool, typer.Option("--sql", help="Print the SQL that is pending; apply nothing.")
    ] = False,
    wait: Annotated[
        timedelta | None,
        typer.Option(
            parser=span,
            metavar=SPAN,
            help="Apply nothing; wait until somebody has, and end with 2 when nobody does.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Apply pending migrations to WORKSHED_DATABASE_URL, each in a transaction of its own."""
    from console.cli.output import print_json
    from workshed import db
    from workshed.migrate import STREAMS
    from workshed.migrate import migrate as apply

    if sql and (status or as_json):
        raise typer.BadParameter("--sql goes with neither --status nor --json")
    if wait is not None and (status or sql or as_json):
        raise typer.BadParameter("--wait goes with none of --status, --sql and --json")
    streams: tuple[Stream, ...] = STREAMS if with_product else ("jobs",)
    if wait is not None:
        await_others(streams, wait)
        return
    with db.connect() as conn:
        if as_json:
            made = None if status else apply(conn, streams)
            print_json(as_data(conn, streams, made))
            return
        if status:
            lines = state_of(conn, streams)
        elif sql:
            lines = pending_sql(conn, streams)
        else:
            lines = outcome(apply(conn, streams))
        for line in lines:
            print(line)


def await_others(streams: "tuple[Stream, ...]", longest: timedelta) -> None:
    """Return once nothing is pending, also where PostgreSQL is away until then.

    Raises what is in the way when that takes too long.
    """
    from console.cli.output import talk
    from workshed import db
    from workshed.errors import DatabaseUnreachableError, MigrationError
    from workshed.migrate import require

    end, said = time.monotonic() + longest.total_seconds(), ""
    while True:
        try:
            with db.connect() as conn:
                for stream in streams:
                    require(conn, stream)
        except (DatabaseUnreachableError, MigrationError) as err:
            if time.monotonic() >= end:
                raise
            if str(err) != said:
                said = str(err)
                talk(f"Waiting: {said}")
            time.sleep(LOOK_S)
        else:
            return


def outcome(done: "list[Migration]") -> Iterator[str]:
    """Say what was applied."""
    for migration in done:
        yield f"applied {migration.stream}/{migration.name}"
    if not done:
        yield "up to date"


def as_data(
    conn: "Connection", streams: "tuple[Stream, ...]", made: "list[Migration] | None"
) -> list[dict[str, object]]:
    """Return those that were made just now, or all; what is pending was applied at no time."""
    from workshed.migrate import applied, pending

    known = {(row.stream, row.name): row.applied_at for row in applied(conn)}
    waiting = {(one.stream, one.name): None for one in pending(conn, streams)}
    wanted = known | waiting if made is None else [(one.stream, one.name) for one in made]
    return [
        {"stream": stream, "name": name, "applied_at": known.get((stream, name))}
        for stream, name in wanted
    ]


def state_of(conn: "Connection", streams: "tuple[Stream, ...]") -> Iterator[str]:
    """Say of each migration, those of a newer release too, since when it is applied."""
    from workshed.migrate import applied, pending

    for row in applied(conn):
        yield f"applied  {row.stream}/{row.name}  {row.applied_at:%Y-%m-%d %H:%M:%S %Z}"
    for migration in pending(conn, streams):
        yield f"pending  {migration.stream}/{migration.name}"


def pending_sql(conn: "Connection", streams: "tuple[Stream, ...]") -> Iterator[str]:
    """Write what `migrate` would do as a script, its notes of what is applied included."""
    from psycopg import sql

    from workshed.migrate import pending

    note = sql.SQL("INSERT INTO jobs.migrations (stream, name, checksum) VALUES ({}, {}, {});")
    for migration in pending(conn, streams):
        row = (migration.stream, migration.name, migration.checksum)
        yield f"-- {migration.stream}/{migration.name}.sql\nBEGIN;\n{migration.sql.strip()}"
        yield f"{note.format(*row).as_string(conn)}\nCOMMIT;\n"
