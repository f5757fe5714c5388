"""The commands of the shop: `python -m shop`."""

from collections.abc import Mapping

import typer

from workshed.console.cli import STYLE, LazyCommands, run

COMMANDS = {
    "campaigns": "shop.cli.campaigns:campaigns",
    "import": "shop.cli.import_people:import_people",
    "sync": "shop.cli.sync:sync",
}
NAME = "python -m shop"


class ShopCommands(LazyCommands):
    """Commands that are imported when they are used."""

    def places(self) -> Mapping[str, str]:
        """Return the location of each command, by name."""
        return COMMANDS


app = typer.Typer(**STYLE, cls=ShopCommands, name=NAME, no_args_is_help=True, add_completion=False)


@app.callback()
def shop() -> None:
    """Commands of the sample service, with the exit codes of `workshed`."""


if __name__ == "__main__":
    run(app, NAME)
