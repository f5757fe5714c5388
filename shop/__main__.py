"""The commands of the shop: `python -m shop`."""

from collections.abc import Mapping

import typer

from workshed.console.cli import TYPER_OPTIONS, LazyCommands, run_command

COMMANDS = {
    "campaigns": "shop.cli.campaigns:campaigns",
    "import": "shop.cli.import_people:import_people",
    "sync": "shop.cli.sync:sync",
}
NAME = "python -m shop"


class ShopCommands(LazyCommands):
    """Commands that are imported when they are used."""

    def import_paths(self) -> Mapping[str, str]:
        """Return the location of each command, by name."""
        return COMMANDS


app = typer.Typer(
    **TYPER_OPTIONS, cls=ShopCommands, name=NAME, no_args_is_help=True, add_completion=False
)


@app.callback()
def shop() -> None:
    """Commands of the sample service, with the exit codes of `workshed`."""


if __name__ == "__main__":
    run_command(app, NAME)
