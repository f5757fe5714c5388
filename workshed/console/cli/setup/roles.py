"""`workshed roles`: the rights of each part in PostgreSQL."""

import re
from typing import Annotated

import typer

from workshed.console.cli.terminal.options import Json
from workshed.console.cli.terminal.output import print_json
from workshed.roles import all_grants, grant_script

NAME = re.compile(r"[a-z_][a-z0-9_]{0,40}")


def roles(
    *,
    prefix: Annotated[str, typer.Option(help="Before the names of the roles.")] = "workshed",
    as_json: Json = False,
) -> None:
    """Print the SQL that makes a role for each part, with the rights it needs and no others.

    Run it as the owner of the schemas, after each migration: workshed roles | psql. To make roles
    takes CREATEROLE. They have no login; GRANT workshed_worker TO … makes one that has a member.
    """
    if not NAME.fullmatch(prefix):
        raise typer.BadParameter(
            "lower-case letters, digits and underscores", param_hint="--prefix"
        )
    if as_json:
        rights = [
            {"role": f"{prefix}_{role}", "may": may, "on": on}
            for grants in all_grants()
            for role, may, on in grants
        ]
        print_json(rights)
        return
    for line in grant_script(prefix, all_grants()):
        print(line)
