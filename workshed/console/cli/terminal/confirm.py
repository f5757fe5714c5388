"""The question before what cannot be taken back."""

import sys

import typer

from workshed.console.cli.terminal.output import talk
from workshed.console.errors import NotConfirmedError


def agreed(what: str, *, yes: bool) -> None:
    """Return when the person at the terminal agrees that `what` happens, or `--yes` does.

    Raises `NotConfirmedError` where nobody can be asked.
    """
    if yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():  # None: closed by `<&-`
        raise NotConfirmedError(
            f"{what}: there is no terminal to ask at, so say --yes, or look first with --dry-run"
        )
    if not typer.confirm(f"{what}?", err=True):
        talk("Nothing was changed.")
        raise typer.Exit(1)
