"""Command groups that list when nothing else is said."""

from typing import Any

from typer.core import TyperGroup

LIST = "list"


class ListByDefault(TyperGroup):
    """`workshed dead --queue emails` is `workshed dead list --queue emails`."""

    # `Any` below: typer's class of contexts is in a private module.

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `list` where no command is named and no help is wanted."""
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args = [LIST, *args]
        return super().parse_args(ctx, args)
