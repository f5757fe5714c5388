"""The `workshed` command of a plain install: `workshed migrate` and `workshed relay`."""

import argparse
import sys
from collections.abc import Callable, Iterator

from workshed import __version__, db
from workshed.console.migrate_output import format_applied, format_pending_sql, format_status
from workshed.errors import SettingsError, WorkshedError
from workshed.migrate import apply_pending as apply
from workshed.migrate import list_streams as all_streams
from workshed.transport.errors import exit_code

INSTALL = "pip install 'workshed[server]'"
REST = f"All other commands come with the extra `server`: {INSTALL}"


def main() -> None:
    """Run one of the two; print a `WorkshedError` on one line, and exit with its code."""
    words = sys.argv[1:]
    try:
        raise SystemExit(run_command(words))
    except WorkshedError as err:
        print(f"workshed: {err}", file=sys.stderr)
        raise SystemExit(exit_code(err)) from None


def run_command(words: list[str]) -> int:
    """Run a command; return its exit code.

    Raises `SettingsError` for a command that needs the extra `server`.
    """
    commands: dict[str, Callable[[argparse.Namespace], int]] = {"migrate": migrate, "relay": relay}
    name = next((word for word in words if not word.startswith("-")), None)
    if name is not None and name not in commands:
        raise SettingsError(f"`workshed {name}` needs the extra `server`: {INSTALL}")
    asked = build_parser().parse_args(words)
    return commands[asked.command](asked)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of both commands."""
    top = argparse.ArgumentParser(
        prog="workshed", description="Background jobs on RabbitMQ and PostgreSQL.", epilog=REST
    )
    top.add_argument("--version", action="version", version=f"workshed {__version__}")
    both = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    tables = both.add_parser("migrate", help="Apply pending migrations to WORKSHED_DATABASE_URL.")
    how = tables.add_mutually_exclusive_group()
    how.add_argument(
        "--status", action="store_true", help="List the applied and the pending migrations."
    )
    how.add_argument("--sql", action="store_true", help="Print the pending SQL; apply nothing.")
    both.add_parser("relay", help="Run a relay until Ctrl-C or SIGTERM.")
    return top


def migrate(options: argparse.Namespace) -> int:
    """Apply pending migrations, or show them."""
    streams = all_streams()
    with db.connect() as conn:
        lines: Iterator[str]
        if options.status:
            lines = format_status(conn, streams)
        elif options.sql:
            lines = format_pending_sql(conn, streams)
        else:
            lines = format_applied(apply(conn, streams))
        for line in lines:
            print(line)
    return 0


def relay(_options: argparse.Namespace) -> int:
    """Run a relay, which `migrate` does not need."""
    from workshed.transport.relay.relay import main as run

    return run()
