"""`workshed migrate`: bring the database's schema up to this release."""

import time
from datetime import timedelta
from typing import Annotated

import typer

from workshed import db
from workshed.console.cli.terminal.options import Json
from workshed.console.cli.terminal.output import print_json, print_message
from workshed.console.formatting import DURATION_METAVAR, parse_duration
from workshed.console.migrate_output import (
    as_data,
    format_applied,
    format_pending_sql,
    format_status,
)
from workshed.errors import DatabaseUnreachableError, MigrationError
from workshed.migrate import apply_pending as apply
from workshed.migrate import list_streams as all_streams
from workshed.migrate import require_stream

POLL_S = 1.0
"""Between two checks whether another process has applied the migrations."""


def migrate(
    *,
    status: Annotated[
        bool, typer.Option("--status", help="List the applied and the pending migrations.")
    ] = False,
    sql: Annotated[
        bool, typer.Option("--sql", help="Print the pending SQL; apply nothing.")
    ] = False,
    wait: Annotated[
        timedelta | None,
        typer.Option(
            parser=parse_duration,
            metavar=DURATION_METAVAR,
            help="Apply nothing; wait until another process has. Exit code 2 if none does.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Apply pending migrations to WORKSHED_DATABASE_URL, each in its own transaction.

    Workshed's migrations come first, then those of your App.
    """
    if sql and (status or as_json):
        raise typer.BadParameter("--sql cannot be combined with --status or --json")
    if wait is not None and (status or sql or as_json):
        raise typer.BadParameter("--wait cannot be combined with --status, --sql or --json")
    streams = all_streams()
    if wait is not None:
        await_others(streams, wait)
        return
    with db.connect() as conn:
        if as_json:
            made = None if status else apply(conn, streams)
            print_json(as_data(conn, streams, made))
            return
        if status:
            lines = format_status(conn, streams)
        elif sql:
            lines = format_pending_sql(conn, streams)
        else:
            lines = format_applied(apply(conn, streams))
        for line in lines:
            print(line)


def await_others(streams: tuple[str, ...], longest: timedelta) -> None:
    """Wait until nothing is pending, and meanwhile also for PostgreSQL.

    Raises `DatabaseUnreachableError` or `MigrationError` after `longest`.
    """
    end, said = time.monotonic() + longest.total_seconds(), ""
    while True:
        try:
            with db.connect() as conn:
                for stream in streams:
                    require_stream(conn, stream)
        except (DatabaseUnreachableError, MigrationError) as err:
            if time.monotonic() >= end:
                raise
            if str(err) != said:
                said = str(err)
                print_message(f"Waiting: {said}")
            time.sleep(POLL_S)
        else:
            return
