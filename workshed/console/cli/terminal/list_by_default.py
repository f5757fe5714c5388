"""Command groups that list when nothing else is said."""

from typing import Any

from typer.core import TyperGroup

LIST = "list"


class ListByDefault(TyperGroup):
    """`workshed dead --queue emails` is `workshed dead list --queue emails`."""

    # `Any` below: typer's class of contexts is in a private module.

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `list` where no command is named and no help is wanted."""
        named = bool(args) and not args[0].startswith("-")
        # A shell that completes the very first word is to be offered the commands.
        wanted = args[0] not in ctx.help_option_names if args else not ctx.resilient_parsing
        if wanted and not named:
            args = [LIST, *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Offer the options of `list` beside the commands."""
        found = super().shell_complete(ctx, incomplete)
        if incomplete.startswith("-") and LIST in self.commands:
            command = self.commands[LIST]
            with command.make_context(LIST, [], parent=ctx, resilient_parsing=True) as inner:
                found += command.shell_complete(inner, incomplete)
        return found
