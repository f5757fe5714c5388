"""The `workshed` command: complete with the extra `server`, two commands without it."""

from workshed.extras import SERVER, MissingExtraError, require


def main() -> None:
    """Run the complete command line if the extra is installed, otherwise the plain one."""
    try:
        require("server", *SERVER)
    except MissingExtraError:
        from workshed.console.plain import main as run
    else:
        from workshed.console.cli import main as run
    run()
