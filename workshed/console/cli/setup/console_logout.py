"""`workshed console logout`: end sessions of the web console."""

from typing import Annotated

import typer

from workshed.console.cli.terminal.bulk import run_operation
from workshed.console.cli.terminal.options import Json
from workshed.console.operations.environment import open_database
from workshed.console.web.auth.log_out import LOG_OUT


def logout(
    names: Annotated[list[str], typer.Argument(metavar="USER", show_default=False)],
    *,
    as_json: Json = False,
) -> None:
    """End all sessions of users of the web console; they may log in again."""
    with open_database() as conn:
        run_operation(conn, LOG_OUT, names, as_json=as_json)
