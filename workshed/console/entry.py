"""The `workshed` command: complete with the extra `server`, two commands without it."""

from workshed.extras import SERVER_MODULES, MissingExtraError, require_modules


def main() -> None:
    """Run the complete command line if the extra is installed, otherwise the plain one."""
    try:
        require_modules("server", *SERVER_MODULES)
    except MissingExtraError:
        from workshed.console.minimal_cli import main as run
    else:
        from workshed.console.cli import main as run
    run()
