"""`workshed console user`, `token` and `logout`: who may use the web console."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from workshed.console.cli.terminal.options import Json

if TYPE_CHECKING:
    from workshed.console.web.auth.roles import Role

SHORTEST_PASSWORD = 12

UserName = Annotated[str, typer.Argument(metavar="NAME", show_default=False)]
RoleName = Annotated[
    str, typer.Option(help="reader: may see everything; operator: may also change things.")
]


def user(name: UserName, *, role: RoleName = "reader") -> None:
    """Print an entry for WORKSHED_CONSOLE_USERS; prompts for the password, or reads stdin."""
    from workshed.console.web.auth.users import format_entry, parse_users

    checked_role = check_entry(name, role)
    if sys.stdin.isatty():
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        password = sys.stdin.readline().rstrip("\n")
    if len(password) < SHORTEST_PASSWORD:
        raise typer.BadParameter(f"the password must have at least {SHORTEST_PASSWORD} characters")
    made = format_entry(name, checked_role, password)
    parse_users(made)
    print(made)


def token(name: UserName, *, role: RoleName = "reader", as_json: Json = False) -> None:
    """Print a new token for a program, and its entry for WORKSHED_CONSOLE_TOKENS.

    The program sends `Authorization: Bearer TOKEN`. The entry has only a hash of the token, so the
    token cannot be shown again. To revoke it, remove the entry and restart the console.
    """
    from workshed.console.cli.terminal.output import print_json
    from workshed.console.web.auth import program_tokens

    checked_role = check_entry(name, role)
    made = program_tokens.create_token()
    entry = program_tokens.format_token_entry(name, checked_role, made)
    if as_json:
        print_json({"name": name, "role": role, "token": made, "entry": entry})
    else:
        # Not as a table, which would break a long line where the terminal ends.
        print(f"token  {made}\nentry  {entry}")


def logout(
    names: Annotated[list[str], typer.Argument(metavar="USER", show_default=False)],
    *,
    as_json: Json = False,
) -> None:
    """End all sessions of users of the web console; they may log in again."""
    from workshed.console.cli.terminal.bulk import run_operation
    from workshed.console.operations.environment import open_database
    from workshed.console.web.auth.log_out import LOG_OUT

    with open_database() as conn:
        run_operation(conn, LOG_OUT, names, as_json=as_json)


def check_entry(name: str, role: str) -> "Role":
    """Return the role; raises `typer.BadParameter` for a name or role that no entry can have."""
    from workshed.console.web.auth.roles import ROLES

    known = {one: one for one in ROLES}
    if role not in known:
        raise typer.BadParameter(f"--role {role!r}: choose from {', '.join(ROLES)}")
    if ":" in name or name.split() != [name]:
        raise typer.BadParameter(f"{name!r} must have no colon and no space")
    return known[role]
