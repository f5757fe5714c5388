"""`workshed roles`: the rights of each part in PostgreSQL."""

import re
from typing import Annotated

import typer

from workshed.console.cli.terminal.options import Json

NAME = re.compile(r"[a-z_][a-z0-9_]{0,40}")


def roles(
    *,
    prefix: Annotated[str, typer.Option(help="Before the names of the roles.")] = "workshed",
    with_product: Annotated[
        bool, typer.Option("--with-product", help="The tables of the shipped jobs as well.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Print the SQL that makes a role for each part, with the rights it needs and no others.

    Run it as the owner of the schemas, after each migration: workshed roles | psql. To make roles
    takes CREATEROLE. They have no login; GRANT workshed_worker TO … makes one that has a member.
    """
    from workshed.console.cli.terminal.output import print_json
    from workshed.roles import granted, script

    if not NAME.fullmatch(prefix):
        raise typer.BadParameter(
            "lower-case letters, digits and underscores", param_hint="--prefix"
        )
    schemas = ("jobs", "product") if with_product else ("jobs",)
    if as_json:
        rights = [
            {"role": f"{prefix}_{role}", "may": may, "on": on}
            for role, may, on in granted()
            if on.split()[1].partition(".")[0] in schemas
        ]
        print_json(rights)
        return
    for line in script(prefix, schemas):
        print(line)
