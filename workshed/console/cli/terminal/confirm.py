"""Ask for confirmation before something that cannot be undone."""

import sys

import typer

from workshed.console.cli.terminal.output import print_message
from workshed.console.errors import NotConfirmedError


def require_confirmation(what: str, *, yes: bool) -> None:
    """Return if the user confirms `what` or gave `--yes`; otherwise exit with 1.

    Raises `NotConfirmedError` without a terminal to ask at.
    """
    if yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():  # None: closed by `<&-`
        raise NotConfirmedError(
            f"{what}: no terminal to confirm at; use --yes, or check first with --dry-run"
        )
    if not typer.confirm(f"{what}?", err=True):
        print_message("Nothing was changed.")
        raise typer.Exit(1)
