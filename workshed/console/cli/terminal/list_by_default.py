"""Command groups whose default command is `list`."""

from typing import Any

from typer.core import TyperGroup

LIST = "list"


class ListByDefault(TyperGroup):
    """Run `list` without a command: `workshed dead --queue emails` is `workshed dead list …`."""

    # `Any` below: typer's context class is in a private module.

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert `list` unless a command is given or help is requested."""
        named = bool(args) and not args[0].startswith("-")
        # A shell that completes the first word must be offered the commands.
        wanted = args[0] not in ctx.help_option_names if args else not ctx.resilient_parsing
        if wanted and not named:
            args = [LIST, *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Offer the options of `list` in addition to the commands."""
        found = super().shell_complete(ctx, incomplete)
        if incomplete.startswith("-") and LIST in self.commands:
            command = self.commands[LIST]
            with command.make_context(LIST, [], parent=ctx, resilient_parsing=True) as inner:
                found += command.shell_complete(inner, incomplete)
        return found
