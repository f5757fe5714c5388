"""`workshed roles`: the PostgreSQL rights of each component."""

import re
from typing import Annotated

import typer

from workshed.console.cli.terminal.options import Json
from workshed.console.cli.terminal.output import print_json
from workshed.roles import grant_script, list_grants

NAME = re.compile(r"[a-z_][a-z0-9_]{0,40}")


def roles(
    *,
    prefix: Annotated[str, typer.Option(help="Prefix of the role names.")] = "workshed",
    as_json: Json = False,
) -> None:
    """Print SQL that creates a role for each component, with only the rights it needs.

    Run it as the owner of the schemas, after each migration: workshed roles | psql. Creating roles
    needs CREATEROLE. The roles cannot log in; use GRANT workshed_worker TO … for a role that can.
    """
    if not NAME.fullmatch(prefix):
        raise typer.BadParameter(
            "use lower-case letters, digits and underscores", param_hint="--prefix"
        )
    if as_json:
        rights = [
            {"role": f"{prefix}_{role}", "may": may, "on": on}
            for grants in list_grants()
            for role, may, on in grants
        ]
        print_json(rights)
        return
    for line in grant_script(prefix, list_grants()):
        print(line)
